-- The library of postgres.sql for MySQL and MariaDB: its schemas are databases. Load it into an empty server.
--
-- No replica identities are needed: with binlog_row_image=FULL the binlog tells whole rows. The database's blackhole engine
-- would do for the context table and the signal table; here they are ordinary tables, which every server has.

create database catalog;
create database circulation;
create database acquisition;
create database sharing;
create database app;

-- Bibliographic records.
create table catalog.bibs (
	mms_id                 varchar(191) primary key,
	title                  text not null,
	author                 varchar(191),
	isbn                   varchar(191),
	issn                   varchar(191),
	network_numbers        json not null default (json_array()),
	place_of_publication   varchar(191),
	date_of_publication    varchar(191),
	publisher              varchar(191),
	record                 text, -- MARC XML
	suppressed             tinyint(1) not null default 0,
	suppressed_from_search tinyint(1) not null default 0,
	created_by             varchar(191) not null default 'System',
	created_on             date not null default (current_date),
	modified_by            varchar(191) not null default 'System',
	modified_on            date not null default (current_date),
	indexed_at             timestamp(6) null -- touched by the search index: no change of the record
);

-- Physical items, with what of their bibliographic and holdings records a message tells.
create table catalog.items (
	item_pid           varchar(191) primary key,
	title              varchar(500) not null,
	author             varchar(191),
	language           char(2),
	published          date,
	price              numeric(8,2),
	tags               json not null default (json_array()),
	record             json,
	barcode            varchar(191),
	mms_id             varchar(191),
	holding_id         varchar(191),
	call_number        varchar(191),
	in_temp_location   tinyint(1) not null default 0,
	status             varchar(191) not null default '1',
	status_name        varchar(191) not null default 'Item in place',
	material_type      varchar(191) not null default 'BOOK',
	material_type_name varchar(191) not null default 'Book',
	policy             varchar(191) not null default '01',
	policy_name        varchar(191) not null default '28 days',
	branch             varchar(191) not null default 'MAIN',
	branch_name        varchar(191) not null default 'Main library',
	location           varchar(191) not null default 'OG',
	location_name      varchar(191) not null default 'Upper floor',
	requested          tinyint(1) not null default 0,
	arrived_on         date,
	updated_by         varchar(191),
	updated_at         timestamp(6) not null default current_timestamp(6),
	foreign key (mms_id) references catalog.bibs (mms_id)
);

-- People who borrow.
create table circulation.members (
	member_id       bigint auto_increment primary key,
	name            varchar(191) not null,
	email           varchar(191),
	branch          varchar(191) not null,
	joined_on       date not null default (current_date),
	blocked         tinyint(1) not null default 0,
	primary_id      varchar(191),
	first_name      varchar(191),
	last_name       varchar(191),
	user_group      varchar(191) not null default 'PUBLIC',
	user_group_name varchar(191) not null default 'Public',
	language        varchar(191) not null default 'en',
	language_name   varchar(191) not null default 'English',
	addresses       json not null default (json_array()),
	emails          json not null default (json_array()), -- [{"email_address":"t@example.org","preferred":true}]
	phones          json not null default (json_array()),
	identifiers     json not null default (json_array()), -- [{"value":"20001","id_type":{"value":"BARCODE","desc":"Barcode"},"status":"ACTIVE"}]
	last_seen_at    timestamp(6) null, -- no change of the person
	updated_by      varchar(191),
	updated_by_name varchar(191),
	updated_via     varchar(191)
);

-- What people may do: their roles are rows of their own, with what tells whose they are.
create table circulation.member_roles (
	role_id     bigint auto_increment primary key,
	member_id   bigint not null,
	primary_id  varchar(191),
	user_group  varchar(191) not null default 'PUBLIC',
	role        varchar(191) not null, -- PATRON, CIRCULATION_DESK_OPERATOR, ...
	role_name   varchar(191),
	branch      varchar(191),
	status      varchar(191) not null default 'ACTIVE',
	updated_via varchar(191),
	foreign key (member_id) references circulation.members (member_id)
);

create table circulation.loans (
	loan_id          bigint auto_increment primary key,
	item_pid         varchar(191) not null,
	member_id        bigint not null,
	status           varchar(191) not null default 'OPEN' check (status in ('OPEN', 'RETURNED', 'LOST', 'CLAIMED_RETURN')),
	branch           varchar(191) not null,
	branch_name      varchar(191) not null,
	loaned_at        timestamp(6) not null default current_timestamp(6),
	due_at           timestamp(6) null not null,
	returned_at      timestamp(6) null,
	renewals         integer not null default 0,
	renewed_at       timestamp(6) null,
	renewable        tinyint(1) not null default 1,
	email            varchar(191),
	internal_note    text,
	desk             varchar(191) not null default 'DEFAULT_CIRC_DESK',
	desk_name        varchar(191) not null default 'Circulation desk',
	return_desk      varchar(191),
	return_desk_name varchar(191),
	returned_by      varchar(191),
	barcode          varchar(191),
	mms_id           varchar(191),
	holding_id       varchar(191),
	title            varchar(500),
	author           varchar(191),
	publication_year varchar(191),
	location         varchar(191),
	location_name    varchar(191),
	policy           varchar(191),
	policy_name      varchar(191),
	call_number      varchar(191),
	updated_by       varchar(191),
	updated_by_name  varchar(191),
	updated_via      varchar(191),
	foreign key (item_pid) references catalog.items (item_pid),
	foreign key (member_id) references circulation.members (member_id)
);

-- Holds, bookings, moves, digitizations and work orders.
create table circulation.requests (
	request_id           bigint auto_increment primary key,
	request_type         varchar(191) not null, -- HOLD, BOOKING, MOVE, DIGITIZATION, WORK_ORDER
	request_subtype      varchar(191),
	request_subtype_name varchar(191),
	status               varchar(191) not null default 'NOT_STARTED', -- NOT_STARTED, IN_PROCESS, ON_HOLD_SHELF, CANCELED, CLOSED
	primary_id           varchar(191) not null,
	mms_id               varchar(191),
	item_pid             varchar(191),
	barcode              varchar(191),
	title                varchar(500),
	author               varchar(191),
	pickup_location      varchar(191),
	pickup_location_type varchar(191) not null default 'LIBRARY',
	pickup_library       varchar(191),
	material_type        varchar(191),
	material_type_name   varchar(191),
	place_in_queue       integer not null default 1,
	comment              text,
	requested_at         timestamp(6) not null default current_timestamp(6),
	wanted_until         date,
	pages                json, -- [{"from_page":"1","to_page":"4"}]
	updated_via          varchar(191)
);

-- What arrived for a purchase order line.
create table acquisition.receipts (
	receipt_id   bigint auto_increment primary key,
	po_line      varchar(191) not null,
	po_line_type varchar(191) not null, -- CONTINUOUS, ONE_TIME
	mms_id       varchar(191) not null,
	title        varchar(500),
	holding_id   varchar(191),
	item_pid     varchar(191),
	barcode      varchar(191),
	description  text,
	branch       varchar(191),
	branch_name  varchar(191),
	arrived_on   date -- NULL until it is here
);

-- Requests to and from other libraries.
create table sharing.requests (
	request_id   varchar(191) primary key,
	direction    varchar(191) not null, -- BORROWING, LENDING
	status       varchar(191) not null,
	status_name  varchar(191),
	requester    varchar(191),
	partner      varchar(191),
	partner_name varchar(191),
	title        varchar(500),
	author       varchar(191),
	isbn         varchar(191),
	created_at   timestamp(6) not null default current_timestamp(6),
	modified_at  timestamp(6) not null default current_timestamp(6)
);

-- Which letters go out, and on which channels. What holds when a letter is sent is written into its row.
create table app.letter_types (
	letter     varchar(191) not null,
	channel    varchar(191) not null, -- EMAIL, SMS, WEBHOOK, SUBMISSION
	enabled    varchar(191) not null default 'no', -- yes, no
	updated_by varchar(191),
	updated_at timestamp(6) null,
	primary key (letter, channel)
);

-- Letters to people: a row for each, on each of its channels.
create table app.letters (
	letter_id     bigint auto_increment primary key,
	letter        varchar(191) not null, -- FulCancelRequestLetter, ...
	letter_name   varchar(191),
	channel       varchar(191) not null default 'WEBHOOK', -- EMAIL, SMS, WEBHOOK, SUBMISSION
	enabled       varchar(191) not null default 'yes', -- yes, no: its type's, on this channel
	status        varchar(191) not null default 'pending', -- pending, sent
	primary_id    varchar(191),
	full_name     varchar(191),
	email         varchar(191),
	language      varchar(191),
	language_name varchar(191),
	subject       varchar(191),
	body          text,
	loans         json, -- [{"loan_id":"1001","title":"..."}]
	request       json,
	sent_at       timestamp(6) null
);

-- Runs of jobs, started by people, by the API or by the clock.
create table app.job_runs (
	run_id          bigint auto_increment primary key,
	job_id          varchar(191) not null,
	name            varchar(191) not null,
	description     text,
	kind            varchar(191) not null default 'SCHEDULED',
	kind_name       varchar(191) not null default 'Scheduled',
	category        varchar(191),
	category_name   varchar(191),
	status          varchar(191) not null default 'RUNNING', -- RUNNING, COMPLETED_SUCCESS, COMPLETED_FAILED
	status_name     varchar(191),
	progress        double not null default 0,
	submitted_by    varchar(191) not null default 'System',
	submitter_name  varchar(191),
	submitted_at    timestamp(6) not null default current_timestamp(6),
	started_at      timestamp(6) null,
	ended_at        timestamp(6) null,
	alerts          json not null default (json_array()), -- [{"value":"alert_general_success","desc":"The job completed."}]
	counters        json not null default (json_array()) -- [{"type":{"value":"label.new.records","desc":"New Records"},"value":"12"}]
);

-- An application's own data: the plan of purchases, with the history of its approval.
create table app.plans (
	plan_id         bigint auto_increment primary key,
	title           varchar(500) not null,
	amount          numeric(12,2) not null default 0,
	department      varchar(191) not null default 'LIBRARY',
	budget_year     integer,
	wanted_by       date,
	confirmed       tinyint(1) not null default 0,
	note            text,
	updated_by      varchar(191),
	updated_by_name varchar(191),
	updated_via     varchar(191)
);

create table app.approvals (
	approval_id bigint auto_increment primary key,
	plan_id     bigint not null,
	step        varchar(191) not null, -- apply, approve, reject, send_back, withdraw, complete
	status      varchar(191) not null,
	comment     text,
	user_id     varchar(191) not null,
	user_name   varchar(191) not null,
	decided_at  timestamp(6) not null default current_timestamp(6),
	foreign key (plan_id) references app.plans (plan_id)
);

create table app.sessions (
	session_id varchar(191) primary key,
	user_id    varchar(191) not null,
	user_name  varchar(191) not null,
	started_at timestamp(6) not null default current_timestamp(6),
	ended_at   timestamp(6) null
);

-- For facts that leave no row, and for who did it.
create table app.rowhook_context (
	id         bigint auto_increment primary key,
	actor_id   varchar(191),
	actor_name varchar(191),
	operation  varchar(191)
);

create table app.rowhook_signal (
	id   bigint auto_increment primary key,
	type varchar(191) not null,
	`key` json not null,
	data json
);
