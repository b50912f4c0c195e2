"""Statements with the kind and the session effects that they must have. One line each: kind | effects | text.

Read by test_planner_decide.py, which compares them with the planner's answers, and by test_planner_server.py, which
runs them (after what `[…]` before the text holds) and looks at what PostgreSQL says is left in the session.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CORPUS", "PREPARED_OBJECTS", "Row"]

PREPARED_OBJECTS = """
drop schema if exists public, s, helios_8 cascade;
create schema public;
create table t (a int, b text);
create table u (a int primary key, b text);
insert into t select n, 'x' from generate_series(1, 5) n;
create schema s;
create table s.t (a int);
create sequence q;
create function f() returns int language plpgsql as
  $$ begin perform set_config('helios.hidden', 'on', false), pg_advisory_lock(77); return 1; end $$;
create function f(int) returns int language sql immutable as 'select $1';
create procedure p() language plpgsql as $$ begin perform set_config('helios.hidden', 'on', false); end $$;
create function s.set_config(text, text, boolean) returns text language sql as 'select pg_catalog.set_config($1, $2, $3)';
create function s.plus(int, int) returns int language sql as 'select $1 + $2 + f() * 0';
create operator s.+ (function = s.plus, leftarg = int, rightarg = int);
create materialized view m as select 1 as a;
"""  # noqa: E501
"""What the statements refer to."""

TEXT = """
read    |                   | select 1
read    |                   | select
read    |                   | values (1), (2)
read    |                   | table t
read    |                   | select 'set_config'
read    |                   | select 'select set_config(''a.b'', ''c'', false)'
read    |                   | select "set_config" from (select 1 as set_config) x
read    |                   | select a as pg_advisory_lock from t
read    |                   | select /* set_config('a.b','1',false) */ 1 -- pg_advisory_lock(1)
read    |                   | select $$ set x = 1 $$
read    |                   | select upper(b), count(*), max(a) over (order by a) from t group by a, b
read    |                   | select t.*, u.* from t left join u using (a) where t.a between 1 and 3
read    |                   | select current_setting('server_version'), now(), random(), gen_random_uuid()
read    |                   | select extract(year from now()), substring('abc' from 2), trim(both from 'x')
read    |                   | select a from t union all select a from u order by 1 limit 3 offset 1
read    |                   | with recursive r as (select 1 n union all select n + 1 from r where n < 3) select * from r
read    |                   | select pg_advisory_xact_lock(1)
read    |                   | select pg_advisory_xact_lock_shared(1, 2), pg_try_advisory_xact_lock(3)
read    |                   | select nextval('q'), currval('q'), lastval()
read    |                   | select setseed(0.5)
read    |                   | [begin] select pg_export_snapshot()
read    |                   | select lo_creat(-1)
read    |                   | select pg_notify('channel', 'text')
read    |                   | select pg_listening_channels()
read    |                   | select table_to_xml('t', true, false, '')
read    |                   | select * from generate_series(1, 3) with ordinality
read    |                   | select set_config('helios.a', '1', true)
read    |                   | select pg_catalog.set_config('helios.a', '1', true)
read    |                   | show all
read    |                   | show work_mem
read    |                   | explain select 1
read    |                   | explain (verbose, costs off) select set_config('helios.a', '1', false)
read    |                   | explain insert into t values (1)
read    |                   | explain select pg_advisory_lock(1)
read    |                   | explain create temp table x as select 1
read    | execute           | [prepare z as select 1] explain execute z
read    | unknown           | explain select f()
read    |                   | explain (analyze) select 1
read    | settings          | select set_config('helios.a', '1', false)
read    | settings          | select pg_catalog.set_config('helios.a', '1', false)
read    | settings          | select PG_CATALOG.Set_Config('helios.a', '1', false)
read    | settings          | select "pg_catalog"."set_config"('helios.a', '1', false)
read    | settings          | select set_config('helios.a', '1', 'f')
read    | settings          | select set_config('helios.a', '1', 'true')
read    | settings          | select set_config('helios.a', '1', null)
read    | settings          | select set_config('helios.a', '1', not true)
read    | settings          | select set_config('helios.a', '1', a > 1) from t
read    | settings          | select set_config('helios.' || b, '1', false) from t
read    | settings          | select set_config('helios.a', '1', true), set_config('helios.b', '1', false)
read    | settings          | select (select set_config('helios.a', '1', false))
read    | settings          | select * from (select set_config('helios.a', '1', false)) x
read    | settings          | with x as materialized (select set_config('helios.a', '1', false)) select * from x
read    | settings          | select case when a > 1 then set_config('helios.a', '1', false) else 'x' end from t
read    | settings          | select case set_config('helios.a', '1', false) when 'x' then 1 end
read    | settings          | select count(*) filter (where set_config('helios.a', '1', false) = '1') from t
read    | settings          | select string_agg(b, ',' order by set_config('helios.a', '1', false)) from t
read    | settings          | values (1, set_config('helios.a', '1', false))
read    | settings          | select upper(lower(set_config('helios.a', '1', false)))
read    | settings          | select 'x' || set_config('helios.a', '1', false) || 'y'
read    | settings          | select not (set_config('helios.a', '1', false) = '1' and true)
read    | settings          | select 1 where set_config('helios.a', '1', false) is not null
read    | settings          | select * from t, lateral (select set_config('helios.a', t.b, false)) x
read    | settings          | select * from t join u on set_config('helios.a', t.b, false) = u.b
read    | settings          | select * from set_config('helios.a', '1', false)
read    | settings          | select * from rows from (set_config('helios.a', '1', false), generate_series(1, 2)) x
read    | settings          | select a from t order by set_config('helios.a', b, false)
read    | settings          | select a from t limit length(set_config('helios.a', '1', false))
read    | settings          | select a from t offset length(set_config('helios.a', '1', false))
read    | settings          | select sum(a) over w from t window w as (partition by set_config('helios.a', b, false))
read    | settings          | select sum(a) over (order by set_config('helios.a', b, false)) from t
read    | settings          | select a from t group by a, set_config('helios.a', b, false)
read    | settings          | select a from t group by grouping sets ((a), (set_config('helios.a', b, false)))
read    | settings          | select a from t group by a having set_config('helios.a', '1', false) = '1'
read    | settings          | select distinct on (set_config('helios.a', b, false)) a from t
read    | settings          | select array[set_config('helios.a', '1', false)], row(1, 2)
read    | settings          | select row(1, set_config('helios.a', '1', false))
read    | settings          | select coalesce(null, set_config('helios.a', '1', false)), greatest(1, 2)
read    | settings          | select set_config('helios.a', '1', false)::int in (1, 2)
read    | settings          | select 1 in (2, set_config('helios.a', '1', false)::int)
read    | settings          | select 'x' like set_config('helios.a', '1', false)
read    | settings          | select exists (select set_config('helios.a', b, false) from t)
read    | settings          | select '1' = any (select set_config('helios.a', '1', false))
read    | settings          | select array(select set_config('helios.a', '1', false))
read    | settings          | select (array[1, 2])[set_config('helios.a', '1', false)::int]
read    | settings          | select cast(set_config('helios.a', '1', false) as int)
read    | settings          | select set_config('helios.a', 'x', false) collate "C"
read    | settings          | select json_object('a': set_config('helios.a', '1', false))
read    | settings          | select json_array(set_config('helios.a', '1', false))
read    | settings          | select * from json_table(jsonb '[1]', '$[*]' passing set_config('helios.a', '1', false) as x columns (a int path '$'))
read    | settings          | select xmlelement(name a, set_config('helios.a', '1', false))
read    | settings          | select * from t tablesample bernoulli (length(set_config('helios.a', '50', false)))
read    | settings          | select extract(year from set_config('helios.a', '2020-01-01', false)::date)
read    | settings          | select (select 1 union select length(set_config('helios.a', '1', false)))
read    | settings          | select 1 from t where a = (select length(set_config('helios.a', '1', false)))
read    | settings          | select set_config('helios.a', '1', false) is distinct from 'x'
read    | settings          | select nullif(set_config('helios.a', '1', false), 'x')
read    | settings          | explain analyze select set_config('helios.a', '1', false)
read    | settings          | explain (analyze on, timing off) select set_config('helios.a', '1', false)
read    | settings          | explain (analyze 1) select set_config('helios.a', '1', false)
read    | settings advisory | select set_config('helios.a', '1', false), pg_advisory_lock(1)
read    | advisory          | select pg_advisory_lock(1)
read    | advisory          | select pg_catalog.pg_advisory_lock(1, 2)
read    | advisory          | select pg_advisory_lock_shared(1)
read    | advisory          | select pg_try_advisory_lock(1)
read    | advisory          | select pg_try_advisory_lock_shared(1, 2)
read    | advisory          | select 1 from t where pg_try_advisory_lock(a)
read    | release           | [select pg_advisory_lock(1)] select pg_advisory_unlock(1)
read    | release           | [select pg_advisory_lock_shared(1)] select pg_advisory_unlock_shared(1)
read    | release           | [select pg_advisory_lock(1)] select pg_advisory_unlock_all()
read    | unknown           | select f()
read    | unknown           | select public.f(1)
read    | unknown           | select * from f()
read    | unknown           | select upper(f()::text)
read    | unknown           | select s.set_config('helios.a', '1', false)
read    | unknown           | select 1 operator(s.+) 2
read    | unknown           | select 1 = any (select f())
read    |                   | select 1 operator(pg_catalog.+) 2
read    | unknown           | select * from t order by f(), a
read    | unknown           | select dblink('x', 'y')
read    | unknown           | select query_to_xml('select set_config(''helios.a'', ''1'', false)', true, false, '')
read    | unknown           | select query_to_xmlschema('select 1', true, false, '')
read    | unknown           | select * from ts_stat('select to_tsvector(set_config(''helios.a'', ''1'', false))')
read    | unknown           | select ts_rewrite('a'::tsquery, 'select ''a''::tsquery, set_config(''helios.a'', ''b'', false)::tsquery')
read    | unknown           | select pg_create_physical_replication_slot('helios_corpus', true, true)
read    | unknown           | select pg_backup_start('x', fast => true)
write   |                   | select a from t for update
write   |                   | select a from t for share of t skip locked
write   |                   | insert into t values (1, 'x')
write   |                   | insert into t (a) select a from u
write   |                   | insert into u values (1, 'x') on conflict (a) do update set b = excluded.b returning *
write   |                   | update t set b = 'y' where a = 1
write   |                   | delete from t using u where t.a = u.a
write   |                   | truncate t
write   |                   | with x as (delete from t returning a) select * from x
write   |                   | merge into u using t on u.a = t.a when matched then delete
write   |                   | explain analyze delete from t
write   | settings          | insert into t values (1, set_config('helios.a', '1', false))
write   | settings          | insert into t select 1, set_config('helios.a', '1', false)
write   | settings          | insert into t values (1, 'x') returning set_config('helios.a', '1', false)
write   | settings          | insert into u values (1, 'x') on conflict (a) do update set b = set_config('helios.a', '1', false)
write   | settings          | update t set b = set_config('helios.a', '1', false)
write   | settings          | update t set (a, b) = (select 1, set_config('helios.a', '1', false))
write   | settings          | delete from t where b = set_config('helios.a', '1', false)
write   | settings          | delete from t returning set_config('helios.a', '1', false)
write   | settings          | merge into u using t on u.a = t.a when not matched then insert values (t.a, set_config('helios.a', '1', false))
write   | settings          | merge into u using (select 1 as a, set_config('helios.a', '1', false) as b) x on u.a = x.a when matched then delete
write   | settings          | with x as (update t set b = 'y' returning set_config('helios.a', '1', false)) select * from x
write   | settings          | explain analyze insert into t values (1, set_config('helios.a', '1', false))
write   | unknown           | call p()
write   |                   | do 'begin null; end'
write   | settings          | do $$ begin perform set_config('helios.a', '1', false); end $$
write   | settings          | do language plpgsql $$ begin set helios.a = '1'; end $$
write   |                   | do $$ begin set local helios.a = '1'; raise notice 'set_config'; end $$
write   | settings          | do $$ declare x text := set_config('helios.a', '1', false); begin end $$
write   | settings          | do $$ declare x text[]; begin x[1] := set_config('helios.a', '1', false); end $$
write   | settings          | do $$ begin if set_config('helios.a', '1', false) = '1' then null; end if; end $$
write   | temp              | do $$ begin create temp table helios_do (a int); end $$
write   | advisory          | do $$ begin for i in 1 .. 3 loop perform pg_advisory_lock(i); end loop; end $$
write   | settings          | do $$ declare é text[]; begin é[length('€')] := set_config('helios.a', 'ü', false); end $$
write   | unknown           | do $$ begin execute 'set helios.a = 1'; end $$
write   | unknown           | do $$ begin perform f(); end $$
write   | unknown           | do $$ declare c refcursor; begin open c for execute 'select f()'; move next from c; end $$
write   | unknown           | do language plpython3u 'pass'
write   | unknown           | do $$ begin this is no statement end $$
copy    |                   | copy t to stdout
copy    |                   | copy (select 1) to stdout
copy    | settings          | copy (select set_config('helios.a', '1', false)) to stdout
copy    | settings          | copy (insert into t values (1) returning set_config('helios.a', '1', false)) to stdout
copy    | unknown           | copy (select f()) to stdout
copy    |                   | copy t from program 'true'
ddl     |                   | create table helios_1 (a int default 1 check (a > 0), b text)
ddl     |                   | create table helios_2 as select 1
ddl     |                   | select 1 as a into helios_3
ddl     |                   | drop table u
ddl     |                   | alter table t add c int default 1
ddl     |                   | create index on t (lower(b))
ddl     |                   | create view helios_4 as select set_config('helios.a', '1', false)
ddl     |                   | create rule r as on insert to t do also notify x
ddl     |                   | create function helios_5() returns text language sql set work_mem = '1MB' as $$ select set_config('a.b', '1', false) $$
ddl     |                   | create function helios_6() returns text begin atomic select set_config('a.b', '1', false); end
ddl     |                   | create policy helios_7 on t using (set_config('a.b', '1', false) = '1')
ddl     |                   | alter role app set work_mem = '5MB'
ddl     |                   | alter database app set work_mem = '5MB'
ddl     |                   | alter system reset work_mem
ddl     |                   | grant select on t to app
ddl     |                   | comment on table t is 'create temp table'
ddl     |                   | create schema helios_8 create table x (a int)
ddl     |                   | refresh materialized view m
ddl     |                   | create temp table helios_9 (a int) on commit drop
ddl     |                   | create temp table helios_10 on commit drop as select 1
ddl     | settings          | create table helios_11 as select set_config('helios.a', '1', false)
ddl     | settings          | create materialized view helios_12 as select set_config('helios.a', '1', false)
ddl     | settings          | alter table t alter b type text using set_config('helios.a', '1', false)
ddl     | settings          | alter table t add c text default set_config('helios.a', '1', false)
ddl     | settings          | select set_config('helios.a', '1', false) as a into helios_13
ddl     | temp              | create temp table x (a int)
ddl     | temp              | create temporary table if not exists x (a int) on commit delete rows
ddl     | temp              | create local temporary table x (a serial primary key)
ddl     | temp              | create table pg_temp.x (a int)
ddl     | temp              | create temp table x as select 1
ddl     | temp              | create temp table x (like t)
ddl     | temp execute      | [prepare z as select 1] create temp table x as execute z
ddl     | temp              | create table pg_temp.x as select 1
ddl     | temp              | select 1 as a into temp x
ddl     | temp              | select 1 as a into temporary table x
ddl     | temp              | select 1 as a into pg_temp.x
ddl     | temp              | create temp view x as select 1
ddl     | temp              | create or replace temp view x as select 1
ddl     | temp              | create view pg_temp.x as select 1
ddl     | temp              | create temp recursive view x (n) as select 1
ddl     | temp              | create temp sequence x
ddl     | temp              | create sequence pg_temp.x
ddl     | temp              | create function pg_temp.x() returns int language sql as 'select 1'
ddl     | temp              | create type pg_temp.x as (a int)
ddl     | temp              | create type pg_temp.x as enum ('a')
ddl     | temp              | create type pg_temp.x as range (subtype = int)
ddl     | temp              | create type pg_temp.x
ddl     | temp              | create domain pg_temp.x as int
ddl     | temp              | create aggregate pg_temp.x (int) (sfunc = int4pl, stype = int)
ddl     | temp              | create operator pg_temp.=== (function = int4eq, leftarg = int, rightarg = int)
ddl     | temp              | create collation pg_temp.x from "C"
ddl     | temp              | create text search dictionary pg_temp.x (template = simple)
ddl     | temp              | create statistics pg_temp.x on a, b from t
ddl     | temp              | create operator family pg_temp.x using btree
ddl     | temp settings     | create temp table x as select set_config('helios.a', '1', false)
ddl     | unknown           | create index on t (f(a))
ddl     | unknown           | create extension vector
session | settings          | set work_mem = '7MB'
session | settings          | set session work_mem to '7MB'
session | settings          | set helios.a = '1'
session | settings          | set time zone 'UTC'
session | settings          | set search_path = s, public
session | settings          | set schema 's'
session | settings          | set names 'LATIN1'
session | settings          | set role app
session | settings          | set session authorization app
session | settings          | set xml option document
session | settings          | set session characteristics as transaction isolation level serializable, read only
session | reset             | [set work_mem = '7MB'] reset work_mem
session | reset             | [set work_mem = '7MB'] reset all
session | reset             | [set role app] reset role
session | reset             | [set work_mem = '7MB'] set work_mem to default
session |                   | set local work_mem = '7MB'
session |                   | set local time zone 'UTC'
session |                   | set local role app
session |                   | [begin] set local session authorization app
session |                   | [begin] set local session characteristics as transaction read only
txn     |                   | set transaction read only
txn     |                   | set local transaction isolation level serializable
txn     |                   | set constraints all deferred
session | prepare           | prepare x as select 1
session | prepare           | prepare x (int) as insert into t values ($1)
session | prepare settings  | prepare x as select set_config('helios.a', '1', false)
session | prepare unknown   | prepare x as select f()
session | execute           | [prepare z (int) as select $1] execute z (1)
session | settings execute  | [prepare z (text) as select $1] execute z (set_config('helios.a', '1', false))
session | deallocate        | [prepare z as select 1] deallocate z
session | deallocate        | [prepare z as select 1] deallocate all
session | discard           | [prepare z as select 1] discard all
session | discard           | [create temp table z (a int)] discard temp
session | discard           | discard plans
session | discard           | discard sequences
session |                   | [begin] declare c cursor for select 1
session |                   | [begin] declare c scroll cursor without hold for select 1
session | cursor            | declare c cursor with hold for select 1
session | cursor            | [begin] declare c binary insensitive no scroll cursor with hold for select 1
session | settings          | [begin; declare d cursor for values (1)] declare c cursor for select set_config('helios.a', '1', false)
session | cursor settings   | declare c cursor with hold for select set_config('helios.a', '1', false)
session |                   | [begin; declare c cursor for select 1] fetch all from c
session |                   | [begin; declare c cursor for select 1] move 1 in c
session |                   | [begin; declare c cursor for select 1] close c
session |                   | [begin] close all
session | listen            | listen channel
session | release           | [listen channel] unlisten channel
session | release           | [listen channel] unlisten *
txn     |                   | begin
txn     |                   | start transaction isolation level serializable read only
txn     |                   | [begin] commit and chain
txn     |                   | [begin] rollback
txn     |                   | [begin] savepoint a
txn     |                   | [begin; savepoint a] release a
txn     |                   | [begin; savepoint a] rollback to savepoint a
txn     |                   | [begin] prepare transaction 'helios_corpus'
txn     |                   | rollback prepared 'helios_corpus'
utility |                   |
utility |                   | -- only a comment
utility |                   | ;;
utility |                   | notify channel, 'x'
utility |                   | [begin] lock table t in share mode
utility |                   | vacuum t
utility |                   | analyze
utility |                   | checkpoint
utility |                   | reindex table u
utility | load              | load 'pgoutput'
read    |                   | select 1; select 2
session | settings          | select 1; set helios.a = '1'
write   | settings advisory | begin; set helios.a = '1'; insert into t values (1); select pg_advisory_lock(1); commit
ddl     | temp listen       | create temp table x (a int); listen channel; insert into x values (1)
copy    | listen            | listen channel; copy t to stdout
session | settings prepare  | set helios.a = '1'; prepare x as select 1; set helios.b = '2'
txn     |                   | begin; select 1; commit
"""  # noqa: E501 - a table


@dataclass(frozen=True)
class Row:
    """One statement of the corpus."""

    kind: str
    effects: frozenset[str]
    sql: str
    before: str
    """What has to run before it in the same session; empty for nothing."""


def _row(line: str) -> Row:
    kind, effects, sql = (part.strip() for part in line.split("|", 2))
    before = ""
    if sql.startswith("["):
        before, sql = (part.strip() for part in sql[1:].split("]", 1))
    return Row(kind, frozenset(effects.split()), sql, before)


CORPUS = [_row(line) for line in TEXT.strip().splitlines()]
