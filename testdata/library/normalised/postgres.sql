-- A library as its designer would have it: each fact stands in one table, and what a message tells of others is found by
-- keys. config.yaml beside it makes the same messages of it as ../config.yaml makes of ../postgres.sql.
-- mysql.sql beside it is the same for MySQL and MariaDB. Load it into an empty database.

create schema catalog;
create schema circulation;
create schema acquisition;
create schema sharing;
create schema app;

-- Codes with what people call them: item statuses, material types, policies, desks, user groups, languages, ...
create table app.codes (
	code_id bigint primary key,
	kind    text not null,
	value   text not null,
	name    text
);

create table catalog.libraries (
	library_id bigint primary key,
	code       text not null,
	name       text not null
);

create table catalog.locations (
	location_id bigint primary key,
	library_id  bigint not null references catalog.libraries,
	code        text not null,
	name        text not null
);

create table catalog.publishers (
	publisher_id bigint primary key,
	name         text not null,
	place        text
);

create table catalog.bibs (
	bib_id                 bigint primary key,
	mms_id                 text not null unique,
	title                  text not null,
	author                 text,
	isbn                   text,
	issn                   text,
	network_numbers        text[] not null default '{}',
	publisher_id           bigint references catalog.publishers,
	date_of_publication    text,
	record                 text, -- MARC XML
	suppressed             boolean not null default false,
	suppressed_from_search boolean not null default false,
	created_by             text not null default 'System',
	created_on             date not null default current_date,
	modified_by            text not null default 'System',
	modified_on            date not null default current_date
);

create table catalog.holdings (
	holding_id  bigint primary key,
	bib_id      bigint not null references catalog.bibs,
	location_id bigint not null references catalog.locations,
	call_number text
);

create table catalog.items (
	item_id          bigint primary key,
	item_pid         text not null unique,
	holding_id       bigint not null references catalog.holdings,
	barcode          text,
	price            numeric(8,2),
	in_temp_location boolean not null default false,
	status_id        bigint not null references app.codes,
	material_type_id bigint not null references app.codes,
	policy_id        bigint not null references app.codes,
	requested        boolean not null default false,
	arrived_on       date,
	updated_at       timestamptz not null default now()
);

create table circulation.members (
	member_id   bigint primary key,
	primary_id  text not null unique,
	name        text not null,
	first_name  text,
	last_name   text,
	email       text,
	group_id    bigint not null references app.codes,
	language_id bigint not null references app.codes,
	addresses   jsonb not null default '[]',
	emails      jsonb not null default '[]',
	phones      jsonb not null default '[]',
	identifiers jsonb not null default '[]',
	updated_via text
);

create table circulation.member_roles (
	role_id     bigint primary key,
	member_id   bigint not null references circulation.members,
	type_id     bigint not null references app.codes,
	library_id  bigint references catalog.libraries,
	status      text not null default 'ACTIVE',
	updated_via text
);

create table circulation.loans (
	loan_id        bigint primary key,
	item_id        bigint not null references catalog.items,
	member_id      bigint not null references circulation.members,
	status         text not null default 'OPEN',
	loaned_at      timestamptz not null default now(),
	due_at         timestamptz not null,
	returned_at    timestamptz,
	renewals       integer not null default 0,
	renewed_at     timestamptz,
	renewable      boolean not null default true,
	desk_id        bigint not null references app.codes,
	return_desk_id bigint references app.codes,
	returned_by_id bigint references circulation.members
);

create table circulation.requests (
	request_id        bigint primary key,
	request_type      text not null,
	subtype_id        bigint references app.codes,
	status            text not null default 'NOT_STARTED',
	member_id         bigint not null references circulation.members,
	bib_id            bigint references catalog.bibs,
	item_id           bigint references catalog.items,
	pickup_library_id bigint references catalog.libraries,
	place_in_queue    integer not null default 1,
	comment           text,
	requested_at      timestamptz not null default now(),
	wanted_until      date,
	pages             jsonb,
	updated_via       text
);

create table acquisition.po_lines (
	po_line_id bigint primary key,
	number     text not null,
	type       text not null, -- CONTINUOUS, ONE_TIME
	library_id bigint references catalog.libraries
);

create table acquisition.receipts (
	receipt_id  bigint primary key,
	po_line_id  bigint not null references acquisition.po_lines,
	item_id     bigint not null references catalog.items,
	description text,
	arrived_on  date -- NULL until it is here
);

create table sharing.partners (
	partner_id bigint primary key,
	code       text not null,
	name       text not null
);

create table sharing.requests (
	request_id  text primary key,
	direction   text not null, -- BORROWING, LENDING
	status_id   bigint references app.codes,
	member_id   bigint references circulation.members,
	partner_id  bigint references sharing.partners,
	title       text,
	author      text,
	isbn        text,
	created_at  timestamptz not null default now(),
	modified_at timestamptz not null default now()
);

-- Which letters go out, and on which channels. Staff switch that at any time.
create table app.letter_types (
	type_id bigint primary key,
	letter  text not null,
	name    text,
	channel text not null, -- EMAIL, SMS, WEBHOOK, SUBMISSION
	enabled text not null default 'no' -- yes, no
);

create table app.letters (
	letter_id bigint primary key,
	type_id   bigint not null references app.letter_types,
	member_id bigint not null references circulation.members,
	status    text not null default 'pending', -- pending, sent
	subject   text,
	body      text,
	loans     jsonb,
	request   jsonb,
	sent_at   timestamptz
);

create table app.jobs (
	job_id      bigint primary key,
	code        text not null,
	name        text not null,
	description text,
	kind_id     bigint not null references app.codes,
	category_id bigint references app.codes
);

create table app.job_runs (
	run_id          bigint primary key,
	job_id          bigint not null references app.jobs,
	status          text not null default 'RUNNING', -- RUNNING, COMPLETED_SUCCESS, COMPLETED_FAILED
	status_id       bigint references app.codes,
	progress        double precision not null default 0,
	submitted_by_id bigint references circulation.members,
	submitted_at    timestamptz not null default now(),
	started_at      timestamptz,
	ended_at        timestamptz,
	alerts          jsonb not null default '[]',
	counters        jsonb not null default '[]'
);
