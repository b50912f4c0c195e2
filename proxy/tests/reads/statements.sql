-- Statements of every kind, one a line. A standby or a read-only transaction refuses most of them; those must never be
-- called reads. A line that begins with ! cannot run in a transaction block.
insert into categories values (100, 1, 'x')
insert into categories select 101, 1, 'x'
insert into categories values (102, 1, 'x') returning id
insert into categories values (1, null, 'x') on conflict do nothing
insert into categories values (1, null, 'x') on conflict (id) do update set name = excluded.name
insert into audit default values
insert into active_customers (id, name) select 1, 'x' where false
with new as (insert into categories values (103, 1, 'x') returning *) select * from new
with new as (insert into categories values (104, 1, 'x')) select 1
with old as (delete from comments returning *) select count(*) from old
with changed as (update products set stock = stock returning id) select id from changed
with a as (select 1), b as (update products set stock = 0 where id = 1 returning 1) select * from a
with a as (with b as (insert into audit (what) values ('x') returning id) select id from b) select * from customers
with merged as (merge into products p using (select 1 as id) s on p.id = s.id when matched then update set stock = 1 returning p.id) select * from merged
select * from (select 1) x where exists (select 1) union all select count(*) from products
update products set price = price + 1
update products set price = 1 where id = 1 returning *
update products p set stock = 0 from categories c where c.id = p.category_id
update only products set stock = 0 where false
delete from comments
delete from comments using posts where posts.id = comments.post_id
delete from comments where false returning id
merge into products p using (select 1 as id) s on p.id = s.id when matched then delete
merge into products p using (select 999 as id) s on p.id = s.id when not matched then insert (id, name) values (s.id, 'x')
merge into products p using (select 1 as id) s on p.id = s.id when matched then do nothing
truncate comments
truncate table comments, posts restart identity cascade
select * from products for update
select * from products for no key update
select * from products for share
select * from products for key share
select * from products for update of products nowait
select * from products where id = 1 for update skip locked
select * from (select * from products for update) x
select id from products where id in (select id from orders for share)
with locked as (select id from products for update) select * from locked
select * from customers c, lateral (select * from orders o where o.customer_id = c.id for update) x
table products for update
values (1) union select id from (select id from products for update) x
select id into copied from products
select id into unlogged copied_unlogged from products
select id into temp copied_temp from products
create table copied as select * from products
create table copied as table products with no data
create temp table copied as select 1 as a
create table if not exists products as select 1 as a
create unlogged table copied as select 1 as a
create materialized view copied as select 1 as a
refresh materialized view daily_sales
select nextval('tickets')
select setval('tickets', 5)
select setval('tickets', 5, false)
select nextval('tickets'::regclass) from generate_series(1, 3)
select id from products where id = nextval('tickets')
select id from products order by nextval('tickets')
select case when true then nextval('tickets') end
select (select nextval('tickets'))
select coalesce(null, nextval('tickets'))
select count(nextval('tickets')) from products
select x from generate_series(1, 2) x where x < nextval('tickets')
select * from numbered
select * from (select * from numbered) n
select next_ticket()
select claims_stable()
select log_read('x')
select public.log_read(name) from customers
select * from watched
select count(*) from watched
select id from products where id === 3
select id from products where id operator(public.===) 3
select 1 from products order by log_read(name)
select * from next_ticket() with ordinality
select dynamic('insert into audit (what) values (''x'')')
call settle()
do $$ begin insert into audit (what) values ('x'); end $$
do $$ begin perform nextval('tickets'); end $$
do language plpgsql $$ begin update products set stock = 1; end $$
explain analyze insert into audit (what) values ('x')
explain (analyze) update products set stock = 1
explain (analyze, verbose) delete from comments
explain analyze select nextval('tickets')
explain (analyze true) with x as (insert into audit (what) values ('x') returning 1) select * from x
explain analyze create table copied as select 1
explain analyze select * from products for update
explain select * from cache
explain insert into audit (what) values ('x')
explain update products set stock = 1
select * from cache
select count(*) from cache c join products p on p.name = c.key
select * from metrics_now
select * from metrics_hot
with x as (select * from cache) select * from x
select exists (select from cache)
copy cache to stdout
copy (select nextval('tickets')) to stdout
copy (insert into audit (what) values ('x') returning id) to stdout
copy (with x as (update products set stock = 1 returning id) select * from x) to stdout
copy (select * from numbered) to stdout
copy products from '/dev/null'
copy products from program 'true'
create table fresh (a int)
create temp table fresh (a int)
create unlogged table fresh (a int)
create table fresh (like products including all)
create table fresh partition of events for values from ('2027-01-01') to ('2028-01-01')
create foreign data wrapper fdw
create index on products (name)
create unique index on products (id)
! create index concurrently by_name on products (name)
! drop index concurrently if exists by_name
! reindex table products
! reindex index concurrently customers_pkey
! reindex database concurrently
create view fresh as select 1 as a
create or replace view reporting.revenue as select now() as month, 1::numeric as total
create recursive view fresh (n) as select 1 union all select n + 1 from fresh where n < 3
create sequence fresh
create temp sequence fresh
create schema fresh
create schema fresh create table inside (a int)
create type fresh as (a int)
create type fresh as enum ('a', 'b')
create type fresh as range (subtype = int)
create type fresh
create domain fresh as int check (value > 0)
create function fresh() returns int language sql as 'select 1'
create or replace function slug(title text) returns text language sql immutable as 'select title'
create procedure fresh() language sql as 'select 1'
create aggregate fresh (int) (sfunc = int4pl, stype = int)
create operator <<<>>> (function = int4pl, leftarg = int, rightarg = int)
create operator class fresh for type int using btree as operator 1 <
create operator family fresh using btree
create collation fresh (locale = 'C')
create conversion fresh for 'UTF8' to 'LATIN1' from utf8_to_iso8859_1
create text search configuration fresh (copy = pg_catalog.english)
create text search dictionary fresh (template = pg_catalog.simple)
create statistics fresh on id, name from products
create trigger fresh before insert on audit for each row execute function suppress_redundant_updates_trigger()
create rule fresh as on insert to audit do instead nothing
create policy fresh on products using (true)
create role fresh
create user fresh
create group fresh
create publication fresh
create publication fresh for all tables
create event trigger fresh on ddl_command_start execute function plpgsql_call_handler()
create cast (int as text) with inout as assignment
create access method fresh type index handler bthandler
! create database fresh
! drop database if exists fresh
! create tablespace fresh location '/nowhere'
! alter system set work_mem = '4MB'
! alter system reset work_mem
! alter database shop set tablespace pg_default
alter table products add column fresh int
alter table products drop column stock
alter table products rename to goods
alter table products rename column stock to amount
alter table products alter column stock set default 1
alter table products add constraint positive check (price >= 0)
alter table products set (fillfactor = 90)
alter table products disable trigger all
alter table products enable row level security
alter table products owner to current_user
alter table products set schema reporting
alter table products set unlogged
alter table events detach partition events_rest
alter index customers_pkey rename to fresh
alter view active_customers alter column name set default 'x'
alter materialized view daily_sales rename to fresh
alter sequence tickets restart
alter sequence tickets owned by none
alter function slug(text) cost 10
alter function slug(text) rename to fresh
alter procedure settle() security definer
alter operator === (int, int) set (restrict = none)
alter type pg_catalog.int4 set (storage = plain)
alter domain information_schema.cardinal_number set not null
alter schema reporting rename to fresh
alter role current_user set work_mem = '4MB'
alter role all reset all
alter role current_user connection limit 5
alter database shop set work_mem = '4MB'
alter database shop connection limit 5
alter default privileges grant select on tables to public
alter policy of_tenant on documents using (true)
alter extension plpgsql set schema pg_catalog
alter statistics fresh set statistics 5
alter trigger fresh on audit rename to other
alter publication fresh add table products
alter text search configuration pg_catalog.simple rename to fresh
alter large object 1 owner to current_user
drop table comments
drop table if exists nothing
drop view reporting.top_customers
drop materialized view daily_sales
drop sequence tickets cascade
drop function slug(text)
drop procedure settle()
drop operator === (int, int)
drop schema reporting cascade
drop schema if exists nothing
drop type if exists nothing
drop domain if exists nothing
drop index if exists nothing
drop role if exists nothing
drop policy of_tenant on documents
drop trigger if exists nothing on products
drop rule if exists nothing on products
drop aggregate if exists nothing (int)
drop cast if exists (text as int)
drop extension if exists nothing
drop owned by app_md5
drop publication if exists nothing
drop collation if exists nothing
reassign owned by app_md5 to app
comment on table products is 'x'
comment on column products.name is null
comment on function slug(text) is 'x'
security label on table products is 'x'
grant select on products to public
grant all on all tables in schema public to public
grant app to app_md5
revoke all on products from public
revoke app from app_md5
import foreign schema x from server y into public
lock table products
lock table products in access exclusive mode
lock table products in row exclusive mode
! vacuum
! vacuum products
! vacuum (full, analyze) products
analyze
analyze products
! cluster
cluster products using products_pkey
! checkpoint
notify channel
notify channel, 'text'
select pg_notify('channel', 'text')
listen channel
unlisten channel
unlisten *
select pg_current_xact_id()
select txid_current()
select pg_catalog.txid_current() is not null
select pg_current_wal_lsn()
select pg_current_wal_insert_lsn()
select pg_current_wal_flush_lsn()
select pg_walfile_name(pg_current_wal_lsn())
select pg_switch_wal()
select pg_create_restore_point('x')
select pg_logical_emit_message(true, 'a', 'b')
select pg_create_physical_replication_slot('x', true, true)
select lo_creat(-1)
select lo_create(0)
select lo_from_bytea(0, '\x00')
select lo_put(1, 0, '\x00')
select lo_unlink(1)
select lo_truncate(0, 0)
select lowrite(0, '\x00')
select lo_import('/dev/null')
select pg_replication_origin_create('x')
select pg_import_system_collations('public')
select brin_summarize_new_values('customers_pkey')
select gin_clean_pending_list('customers_pkey')
select pg_log_standby_snapshot()
select pg_replication_slot_advance('x', '0/1')
select pg_drop_replication_slot('x')
begin
begin read write
begin isolation level serializable
begin; insert into audit (what) values ('x')
start transaction read write
begin; set transaction read write; insert into audit (what) values ('x'); commit
set transaction read write
set transaction isolation level serializable
set session characteristics as transaction read write
set default_transaction_read_only = off
set transaction_read_only = off
select set_config('transaction_read_only', 'off', false)
prepare transaction 'x'
! commit prepared 'nothing'
! rollback prepared 'nothing'
savepoint a
commit
rollback
end
abort
prepare fresh as insert into audit (what) values ('x')
prepare fresh as select 1
prepare fresh as insert into audit (what) values ('x'); execute fresh
prepare fresh as select nextval('tickets'); execute fresh
deallocate all
declare fresh cursor with hold for select 1
begin; declare fresh cursor for select * from products for update; fetch fresh
close all
discard all
discard temp
discard plans
discard sequences
load 'pgoutput'
set work_mem = '4MB'
set local work_mem = '4MB'
reset all
set role none
set session authorization default
select set_config('helios.a', 'b', false)
select 1; insert into audit (what) values ('x')
insert into audit (what) values ('x'); select 1
select 1; select nextval('tickets')
select 1; begin; select 1; commit
; ; delete from comments
/* a comment */ insert into audit (what) values ('x')
/* select */ /* nested /* comment */ */ update products set stock = 1
-- select 1
-- select 1;
( select * from products for update )
(with x as (delete from comments returning 1) select * from x)
select/**/nextval('tickets')
select pg_catalog . nextval ( 'tickets' )
select "nextval"('tickets')
SELECT NEXTVAL('tickets')
select U&"n\0065xtval"('tickets')
explain (analyze false) insert into audit (what) values ('x')
select * from ts_stat('select ''a''::tsvector')
select * from secrets
select * from audit where what = any (select log_read('x'))
select row_number() over (order by nextval('tickets')) from products
select sum(nextval('tickets')) over () from products
select * from products tablesample bernoulli (nextval('tickets'))
select array(select nextval('tickets'))
select array[nextval('tickets')]
select row(nextval('tickets'))
select json_object('a': nextval('tickets'))
select x.* from customers c, lateral next_ticket() x
select * from rows from (next_ticket(), generate_series(1, 2)) x
with recursive r as (select nextval('tickets') as n union all select n + 1 from r where n < 0) select * from r
select 1 group by nextval('tickets')
select count(*) from products having nextval('tickets') > 0
select 1 limit nextval('tickets')
select 1 offset (select nextval('tickets'))
select distinct on (nextval('tickets')) id from products
select 1 from products p join orders o on o.id = nextval('tickets')
