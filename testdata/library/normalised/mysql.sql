-- The library of postgres.sql beside it for MySQL and MariaDB: its schemas are databases. Load it into an empty server.
-- Keys are numbers: rows are not looked up by texts whose equality is a matter of collation.

create database catalog;
create database circulation;
create database acquisition;
create database sharing;
create database app;

-- Codes with what people call them: item statuses, material types, policies, desks, user groups, languages, ...
create table app.codes (
	code_id bigint primary key,
	kind    varchar(191) not null,
	value   varchar(191) not null,
	name    varchar(191)
);

create table catalog.libraries (
	library_id bigint primary key,
	code       varchar(191) not null,
	name       varchar(191) not null
);

create table catalog.locations (
	location_id bigint primary key,
	library_id  bigint not null,
	code        varchar(191) not null,
	name        varchar(191) not null
);

create table catalog.publishers (
	publisher_id bigint primary key,
	name         varchar(191) not null,
	place        varchar(191)
);

create table catalog.bibs (
	bib_id                 bigint primary key,
	mms_id                 varchar(191) not null unique,
	title                  varchar(191) not null,
	author                 varchar(191),
	isbn                   varchar(191),
	issn                   varchar(191),
	network_numbers        json not null default (json_array()),
	publisher_id           bigint,
	date_of_publication    varchar(191),
	record                 text, -- MARC XML
	suppressed             tinyint(1) not null default 0,
	suppressed_from_search tinyint(1) not null default 0,
	created_by             varchar(191) not null default 'System',
	created_on             date not null default (current_date),
	modified_by            varchar(191) not null default 'System',
	modified_on            date not null default (current_date)
);

create table catalog.holdings (
	holding_id  bigint primary key,
	bib_id      bigint not null,
	location_id bigint not null,
	call_number varchar(191)
);

create table catalog.items (
	item_id          bigint primary key,
	item_pid         varchar(191) not null unique,
	holding_id       bigint not null,
	barcode          varchar(191),
	price            numeric(8,2),
	in_temp_location tinyint(1) not null default 0,
	status_id        bigint not null,
	material_type_id bigint not null,
	policy_id        bigint not null,
	requested        tinyint(1) not null default 0,
	arrived_on       date,
	updated_at       timestamp(6) not null default current_timestamp(6)
);

create table circulation.members (
	member_id   bigint primary key,
	primary_id  varchar(191) not null unique,
	name        varchar(191) not null,
	first_name  varchar(191),
	last_name   varchar(191),
	email       varchar(191),
	group_id    bigint not null,
	language_id bigint not null,
	addresses   json not null default (json_array()),
	emails      json not null default (json_array()),
	phones      json not null default (json_array()),
	identifiers json not null default (json_array()),
	updated_via varchar(191)
);

create table circulation.member_roles (
	role_id     bigint primary key,
	member_id   bigint not null,
	type_id     bigint not null,
	library_id  bigint,
	status      varchar(191) not null default 'ACTIVE',
	updated_via varchar(191)
);

create table circulation.loans (
	loan_id        bigint primary key,
	item_id        bigint not null,
	member_id      bigint not null,
	status         varchar(191) not null default 'OPEN',
	loaned_at      timestamp(6) not null default current_timestamp(6),
	due_at         timestamp(6) not null,
	returned_at    timestamp(6) null,
	renewals       integer not null default 0,
	renewed_at     timestamp(6) null,
	renewable      tinyint(1) not null default 1,
	desk_id        bigint not null,
	return_desk_id bigint,
	returned_by_id bigint
);

create table circulation.requests (
	request_id        bigint primary key,
	request_type      varchar(191) not null,
	subtype_id        bigint,
	status            varchar(191) not null default 'NOT_STARTED',
	member_id         bigint not null,
	bib_id            bigint,
	item_id           bigint,
	pickup_library_id bigint,
	place_in_queue    integer not null default 1,
	comment           text,
	requested_at      timestamp(6) not null default current_timestamp(6),
	wanted_until      date,
	pages             json,
	updated_via       varchar(191)
);

create table acquisition.po_lines (
	po_line_id bigint primary key,
	number     varchar(191) not null,
	type       varchar(191) not null, -- CONTINUOUS, ONE_TIME
	library_id bigint
);

create table acquisition.receipts (
	receipt_id  bigint primary key,
	po_line_id  bigint not null,
	item_id     bigint not null,
	description varchar(191),
	arrived_on  date -- NULL until it is here
);

create table sharing.partners (
	partner_id bigint primary key,
	code       varchar(191) not null,
	name       varchar(191) not null
);

create table sharing.requests (
	request_id  varchar(191) primary key,
	direction   varchar(191) not null, -- BORROWING, LENDING
	status_id   bigint,
	member_id   bigint,
	partner_id  bigint,
	title       varchar(191),
	author      varchar(191),
	isbn        varchar(191),
	created_at  timestamp(6) not null default current_timestamp(6),
	modified_at timestamp(6) not null default current_timestamp(6)
);

-- Which letters go out, and on which channels. Staff switch that at any time.
create table app.letter_types (
	type_id bigint primary key,
	letter  varchar(191) not null,
	name    varchar(191),
	channel varchar(191) not null, -- EMAIL, SMS, WEBHOOK, SUBMISSION
	enabled varchar(191) not null default 'no' -- yes, no
);

create table app.letters (
	letter_id bigint primary key,
	type_id   bigint not null,
	member_id bigint not null,
	status    varchar(191) not null default 'pending', -- pending, sent
	subject   varchar(191),
	body      text,
	loans     json,
	request   json,
	sent_at   timestamp(6) null
);

create table app.jobs (
	job_id      bigint primary key,
	code        varchar(191) not null,
	name        varchar(191) not null,
	description varchar(191),
	kind_id     bigint not null,
	category_id bigint
);

create table app.job_runs (
	run_id          bigint primary key,
	job_id          bigint not null,
	status          varchar(191) not null default 'RUNNING', -- RUNNING, COMPLETED_SUCCESS, COMPLETED_FAILED
	status_id       bigint,
	progress        double not null default 0,
	submitted_by_id bigint,
	submitted_at    timestamp(6) not null default current_timestamp(6),
	started_at      timestamp(6) null,
	ended_at        timestamp(6) null,
	alerts          json not null default (json_array()),
	counters        json not null default (json_array())
);
