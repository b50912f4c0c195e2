-- What a standby accepts in a read-only transaction, and must be asked of the primary all the same; one a line.
select pg_advisory_lock(1)
select pg_try_advisory_lock(1)
select pg_advisory_unlock_all()
select pg_export_snapshot()
select pg_is_in_recovery()
select pg_last_wal_replay_lsn()
select pg_last_wal_receive_lsn()
select pg_last_xact_replay_timestamp()
select * from pg_stat_activity
select count(*) from pg_catalog.pg_stat_activity where state = 'active'
select * from pg_stat_replication
select * from pg_replication_slots
select * from pg_stat_user_tables
select * from pg_statio_user_tables
select * from pg_stat_database
select * from pg_locks
select * from pg_settings
select * from pg_prepared_xacts
select * from pg_prepared_statements
select * from pg_cursors
select pg_backend_pid()
select pg_cancel_backend(0)
select pg_terminate_backend(0)
select pg_stat_get_db_numbackends(1)
select pg_stat_reset()
select pg_reload_conf()
select pg_rotate_logfile()
select pg_current_snapshot()
select txid_current_snapshot()
select pg_listening_channels()
select inet_server_addr(), inet_server_port()
select pg_postmaster_start_time()
select pg_read_file('postgresql.conf')
select pg_ls_dir('.')
select * from pg_ls_waldir()
select setseed(0.5)
select set_config('helios.a', 'b', true)
select * from pg_temp.mine
show transaction_read_only
show in_hot_standby
show all
show work_mem
listen channel
begin
begin read only
set transaction snapshot '00000003-0000001B-1'
set work_mem = '4MB'
prepare p as select 1
declare c cursor with hold for select 1
with a as (select pg_advisory_lock(1)) select * from a
select 1 from (select pg_backend_pid() as pid) x
copy (select * from pg_stat_activity) to stdout
copy products to '/dev/null'
copy products to program 'true'
explain analyze select pg_advisory_lock(1)
