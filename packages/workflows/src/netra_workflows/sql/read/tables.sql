create table source (
    source_id integer primary key, name varchar, path varchar, format varchar, sha256 varchar, columns varchar[]
);
create table mapped (format varchar, focus_column varchar, found varchar, focus varchar);
create table refusal (source_id integer, record bigint, line bigint, reason varchar);
create table meter (
    meter_id ubigint, provider varchar, service varchar, description varchar, unit varchar,
    instance_type varchar, frequency varchar, pricing varchar, model varchar, token_direction varchar, token_cache varchar
);
create table charge (
    source_id integer, record bigint, meter_id ubigint, account varchar, currency varchar,
    period_start timestamp, started timestamp, ended timestamp, day date, weekday tinyint,
    category varchar, correction boolean, billed decimal(38, 18), effective decimal(38, 18),
    quantity decimal(38, 18), region varchar, resource varchar, commitment varchar,
    commitment_kind varchar, commitment_status varchar, eligible varchar, tagged boolean
);
create table applied (source_id integer, record bigint, commitment varchar, cost decimal(38, 18));
create table contract (
    source_id integer, record bigint, contract varchar, commitment varchar, kind varchar, cost decimal(38, 18),
    currency varchar, started timestamp, ended timestamp
);
