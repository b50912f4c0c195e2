-- What the statements of this folder are about: a shop, with a view, functions, policies, partitions and a hidden write.
create schema if not exists reporting;
create table customers (id int primary key, name text not null, email text unique, country text, vip boolean default false,
  created_at timestamptz default now(), settings jsonb default '{}', tags text[] default '{}');
create table categories (id int primary key, parent_id int references categories, name text not null);
create table products (id int primary key, category_id int references categories, name text not null, price numeric(10,2),
  stock int default 0, attributes jsonb default '{}', search tsvector);
create table orders (id int primary key, customer_id int references customers, status text not null, total numeric(10,2),
  placed_at timestamptz not null default now(), shipped_at timestamptz);
create table order_items (order_id int references orders, product_id int references products, quantity int not null,
  unit_price numeric(10,2), primary key (order_id, product_id));
create table posts (id int primary key, author_id int references customers, title text, body text, published boolean,
  published_at timestamptz);
create table comments (id int primary key, post_id int references posts, author_id int references customers, body text,
  created_at timestamptz default now());
create table events (id bigint, kind text, payload jsonb, at timestamptz not null) partition by range (at);
create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
create table events_rest partition of events default;
create table documents (id int primary key, tenant_id int, body text);
alter table documents enable row level security;
create policy of_tenant on documents using (tenant_id = coalesce(nullif(current_setting('app.tenant', true), ''), '0')::int);
create table audit (id bigint generated always as identity, what text, at timestamptz default now());
create sequence tickets;
create unlogged table cache (key text primary key, value text);
create table metrics (at timestamptz, name text, value double precision);
create table metrics_hot (like metrics);
create unlogged table metrics_now () inherits (metrics_hot);
create materialized view daily_sales as
  select placed_at::date as day, count(*) as orders, sum(total) as total from orders group by 1;
create view active_customers as select c.*, (select count(*) from orders o where o.customer_id = c.id) as orders
  from customers c where exists (select from orders o where o.customer_id = c.id and o.placed_at > now() - interval '1 year');
create view reporting.revenue as
  select date_trunc('month', placed_at) as month, sum(total) as total from public.orders where status <> 'cancelled' group by 1;
create view reporting.top_customers as
  select a.id, a.name, rank() over (order by a.orders desc) as place from public.active_customers a;
create view numbered as select nextval('tickets') as ticket, id from orders;
create function order_total(which int) returns numeric language sql stable
  as 'select sum(quantity * unit_price) from order_items where order_id = which';
create function full_label(c customers) returns text language sql stable as $$ select c.name || ' <' || c.email || '>' $$;
create function slug(title text) returns text language sql immutable as $$ select lower(regexp_replace(title, '\W+', '-', 'g')) $$;
create function orders_of(who int) returns setof orders language plpgsql stable
  as $$ begin return query select * from orders where customer_id = who; end $$;
create function count_orders(who int) returns bigint language plpgsql
  as $$ declare n bigint; begin select count(*) into n from orders where customer_id = who; return n; end $$;
create function is_member(who int) returns boolean language plpgsql security definer
  as $$ begin if who is null then return false; end if; return exists (select from customers where id = who); end $$;
create function next_ticket() returns bigint language sql as $$ select nextval('tickets') $$;
create function claims_stable() returns bigint language sql stable as $$ select nextval('tickets') $$;
create function log_read(what text) returns text language plpgsql
  as $$ begin insert into audit (what) values (log_read.what); return what; end $$;
create function logged(a int, b int) returns boolean language plpgsql
  as $$ begin insert into audit (what) values ('compared'); return a = b; end $$;
create operator === (function = logged, leftarg = int, rightarg = int);
create function close_to(a int, b int) returns boolean language sql immutable as 'select abs(a - b) <= 1';
create operator =~= (function = close_to, leftarg = int, rightarg = int);
create function dynamic(statement text) returns void language plpgsql as $$ begin execute statement; end $$;
create procedure settle() language plpgsql as $$ begin update orders set status = 'settled' where status = 'paid'; end $$;
create view watched as select log_read(name) as name from customers;
create table secrets (id int primary key, body text);
alter table secrets enable row level security;
create policy logged_reads on secrets using (log_read(body) is not null);
insert into customers (id, name, email, country) select n, 'Customer ' || n, n || '@example.com', 'DE' from generate_series(1, 20) n;
insert into categories values (1, null, 'All'), (2, 1, 'Books'), (3, 2, 'Novels');
insert into products (id, category_id, name, price, stock) select n, 1 + n % 3, 'Product ' || n, n, n from generate_series(1, 20) n;
insert into orders (id, customer_id, status, total) select n, 1 + n % 20, 'paid', n from generate_series(1, 50) n;
insert into order_items select 1 + n % 50, 1 + n % 20, n, 1 from generate_series(1, 60) n on conflict do nothing;
insert into posts select n, 1 + n % 20, 'Title ' || n, 'Body', true, now() from generate_series(1, 20) n;
insert into comments (id, post_id, author_id, body) select n, 1 + n % 20, 1 + n % 20, 'Hm' from generate_series(1, 40) n;
insert into events select n, 'click', '{"a": 1}', '2026-06-01' from generate_series(1, 10) n;
insert into documents select n, n % 3, 'Text' from generate_series(1, 9) n;
insert into secrets values (1, 'x');
refresh materialized view daily_sales;
