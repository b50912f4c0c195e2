-- As ActiveRecord, Hibernate, Prisma, TypeORM, Sequelize, JDBC tools, Metabase, Superset, Tableau, Power BI and Grafana write them.
SELECT 1
;
SELECT 1 AS one FROM "customers" WHERE "customers"."email" = 'a@example.com' LIMIT 1
;
SELECT "customers".* FROM "customers" WHERE "customers"."id" = 1 LIMIT 1
;
SELECT COUNT(*) FROM "orders" WHERE "orders"."customer_id" = 1
;
SELECT "orders".* FROM "orders" WHERE "orders"."customer_id" IN (1, 2, 3)
;
SELECT "orders".* FROM "orders" INNER JOIN "customers" ON "customers"."id" = "orders"."customer_id" WHERE "customers"."country" = 'DE' ORDER BY "orders"."placed_at" DESC LIMIT 25 OFFSET 50
;
SELECT "customers"."id" AS t0_r0, "customers"."name" AS t0_r1, "orders"."id" AS t1_r0, "orders"."total" AS t1_r1 FROM "customers" LEFT OUTER JOIN "orders" ON "orders"."customer_id" = "customers"."id" WHERE "orders"."status" = 'paid'
;
SELECT DISTINCT "products"."category_id" FROM "products"
;
SELECT SUM("orders"."total") AS sum_total, "orders"."status" AS orders_status FROM "orders" GROUP BY "orders"."status"
;
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, c.collname, col_description(a.attrelid, a.attnum) AS comment FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation WHERE a.attrelid = '"orders"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
;
SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid WHERE t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric', 'bool', 'json', 'jsonb')
;
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'orders' AND c.relkind IN ('r','v','m','p','f')
;
SELECT distinct i.relname, d.indisunique, d.indkey, pg_get_indexdef(d.indexrelid), t.oid, pg_catalog.obj_description(i.oid, 'pg_class') AS comment, d.indisvalid FROM pg_class t INNER JOIN pg_index d ON t.oid = d.indrelid INNER JOIN pg_class i ON d.indexrelid = i.oid LEFT JOIN pg_namespace n ON n.oid = t.relnamespace WHERE i.relkind IN ('i', 'I') AND d.indisprimary = 'f' AND t.relname = 'orders' AND n.nspname = ANY (current_schemas(false)) ORDER BY i.relname
;
SELECT extname FROM pg_extension
;
/* Post#index */ SELECT "posts".* FROM "posts" WHERE "posts"."published" = TRUE /*application:Shop,controller:posts,action:index*/
;
select c1_0.id,c1_0.country,c1_0.email,c1_0.name from customers c1_0 where c1_0.id=1
;
select o1_0.id,o1_0.status,c1_0.id,c1_0.name from orders o1_0 left join customers c1_0 on c1_0.id=o1_0.customer_id where o1_0.total>10 order by o1_0.placed_at desc fetch first 20 rows only
;
select count(o1_0.id) from orders o1_0 where o1_0.status in ('new','paid')
;
select case when exists(select 1 from customers c where c.email='x') then true else false end
;
select p1_0.id, p1_0.name from products p1_0 where upper(p1_0.name) like upper('%duct%') escape ''
;
select distinct on (o.customer_id) o.customer_id, o.id, o.placed_at from orders o order by o.customer_id, o.placed_at desc
;
/* select generatedAlias0 from Customer as generatedAlias0 */ select customer0_.id as id1_0_ from customers customer0_ offset 5 rows
;
SELECT "public"."customers"."id", "public"."customers"."name" FROM "public"."customers" WHERE ("public"."customers"."id" = 1 AND 1=1) LIMIT 1 OFFSET 0
;
SELECT "public"."orders"."id", "public"."orders"."customer_id" FROM "public"."orders" WHERE "public"."orders"."customer_id" IN (1,2) OFFSET 0
;
SELECT COUNT(*) FROM (SELECT "public"."orders"."id" FROM "public"."orders" WHERE 1=1 OFFSET 0) AS "sub"
;
SELECT "t1"."id", "t1"."name", COALESCE("aggr_selection_0_Order"."_aggr_count_orders", 0) AS "_aggr_count_orders" FROM "public"."customers" AS "t1" LEFT JOIN (SELECT "public"."orders"."customer_id", COUNT(*) AS "_aggr_count_orders" FROM "public"."orders" WHERE 1=1 GROUP BY "public"."orders"."customer_id") AS "aggr_selection_0_Order" ON ("t1"."id" = "aggr_selection_0_Order"."customer_id") WHERE 1=1
;
SELECT "t0"."id", "t0_orders"."__prisma_data__" AS "orders" FROM "public"."customers" AS "t0" LEFT JOIN LATERAL (SELECT COALESCE(JSONB_AGG("__prisma_data__"), '[]') AS "__prisma_data__" FROM (SELECT JSONB_BUILD_OBJECT('id', "t1"."id", 'total', "t1"."total") AS "__prisma_data__" FROM "public"."orders" AS "t1" WHERE "t0"."id" = "t1"."customer_id") AS "t2") AS "t0_orders" ON TRUE LIMIT 10
;
SELECT EXISTS(SELECT 1 FROM pg_namespace WHERE nspname = 'public'), version(), current_setting('server_version_num')::integer as numeric_version
;
SELECT "customer"."id" AS "customer_id", "customer"."name" AS "customer_name" FROM "customers" "customer" WHERE (("customer"."vip" = false)) ORDER BY "customer_id" ASC LIMIT 10
;
SELECT DISTINCT "distinctAlias"."post_id" AS "ids_post_id" FROM (SELECT "post"."id" AS "post_id", "post"."title" AS "post_title" FROM "posts" "post" LEFT JOIN "comments" "comment" ON "comment"."post_id"="post"."id" WHERE "post"."published" = true) "distinctAlias" ORDER BY "post_id" ASC LIMIT 10
;
SELECT * FROM current_schema()
;
SELECT "n".* FROM "customers" "n" INNER JOIN (SELECT "id" FROM "customers" ORDER BY "id" LIMIT 3) "x" USING ("id")
;
SELECT "id", "name", "created_at" AS "createdAt" FROM "customers" AS "Customer" WHERE "Customer"."email" = 'a' LIMIT 1;
;
SELECT count("Order"."id") AS "count" FROM "orders" AS "Order" INNER JOIN "customers" AS "customer" ON "Order"."customer_id" = "customer"."id" AND "customer"."country" = 'DE'
;
SELECT "Post".*, "comments"."id" AS "comments.id", "comments"."body" AS "comments.body" FROM (SELECT "Post"."id", "Post"."title" FROM "posts" AS "Post" WHERE (SELECT "post_id" FROM "comments" AS "comments" WHERE ("comments"."post_id" = "Post"."id") LIMIT 1) IS NOT NULL LIMIT 5) AS "Post" INNER JOIN "comments" AS "comments" ON "Post"."id" = "comments"."post_id"
;
SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM' ELSE CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END END AS TABLE_TYPE, d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND c.relname LIKE 'ord%' ORDER BY TABLE_TYPE, TABLE_SCHEM, TABLE_NAME
;
SELECT * FROM (SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull, a.atttypmod, a.attlen, t.typtypmod, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, nullif(a.attidentity, '') as attidentity, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typbasetype, t.typtype FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum) LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped AND c.relname LIKE 'orders') c WHERE true ORDER BY nspname, c.relname, attnum
;
SELECT nspname AS TABLE_SCHEM, NULL AS TABLE_CATALOG FROM pg_catalog.pg_namespace WHERE nspname <> 'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) ORDER BY TABLE_SCHEM
;
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate ORDER BY db.datname
;
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = 2200 AND c.relkind not in ('i', 'I', 'c')
;
SELECT pg_catalog.pg_total_relation_size('orders'), pg_catalog.pg_relation_size('orders'), pg_size_pretty(pg_database_size(current_database()))
;
SELECT current_schema(), session_user, current_user, current_database(), version()
;
SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid FROM pg_catalog.pg_type LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r from pg_namespace as ns join (select s.r, (current_schemas(false))[s.r] as nspname from generate_series(1, array_upper(current_schemas(false), 1)) as s(r)) as r using (nspname)) as sp ON sp.nspoid = typnamespace WHERE typname = 'jsonb' ORDER BY sp.r, pg_type.oid DESC
;
SELECT rolname AS name, rolsuper, rolcanlogin FROM pg_catalog.pg_roles ORDER BY 1
;
SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
;
SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position
;
SELECT tc.constraint_name, kcu.column_name, ccu.table_name AS foreign_table FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_name) JOIN information_schema.constraint_column_usage ccu USING (constraint_name) WHERE tc.constraint_type = 'FOREIGN KEY'
;
SELECT DATE_TRUNC('month', "public"."orders"."placed_at") AS "placed_at", SUM("public"."orders"."total") AS "sum" FROM "public"."orders" GROUP BY DATE_TRUNC('month', "public"."orders"."placed_at") ORDER BY DATE_TRUNC('month', "public"."orders"."placed_at") ASC
;
-- Metabase:: userID: 1 queryType: MBQL queryHash: abc
SELECT "source"."status" AS "status", COUNT(*) AS "count" FROM (SELECT "public"."orders"."status" AS "status" FROM "public"."orders" WHERE "public"."orders"."placed_at" >= DATE_TRUNC('day', NOW() + INTERVAL '-30 day')) AS "source" GROUP BY "source"."status" ORDER BY "source"."status" ASC LIMIT 2000
;
SELECT SUBSTRING("public"."posts"."body", 1, 1234) AS "substring1" FROM "public"."posts" LIMIT 10000
;
SELECT CAST(EXTRACT(isodow FROM "public"."orders"."placed_at") AS integer) AS d, COUNT(DISTINCT "public"."orders"."customer_id") FROM "public"."orders" GROUP BY 1
;
SELECT country AS country, COUNT(DISTINCT id) AS "COUNT_DISTINCT(id)", sum(case when vip then 1 else 0 end) AS "SUM(vip)" FROM public.customers WHERE created_at >= TO_TIMESTAMP('2020-01-01 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY country ORDER BY "COUNT_DISTINCT(id)" DESC LIMIT 10000
;
SELECT * FROM (SELECT id, total FROM orders) AS virtual_table LIMIT 1000
;
SELECT "orders"."status" AS "status", SUM("orders"."total") AS "sum:total:ok" FROM "public"."orders" "orders" GROUP BY 1
;
SELECT CAST("orders"."placed_at" AS DATE) AS "tdy:placed_at:ok", (CASE WHEN SUM("orders"."total") = 0 THEN NULL ELSE SUM("orders"."total") / COUNT(1) END) AS "avg" FROM "public"."orders" "orders" INNER JOIN "public"."customers" "customers" ON ("orders"."customer_id" = "customers"."id") WHERE ("customers"."country" IN ('DE', 'FR')) GROUP BY 1 HAVING (COUNT(1) > 0)
;
select "_"."status", "_"."a0" from (select "rows"."status" as "status", sum("rows"."total") as "a0" from (select "$Table"."status", "$Table"."total" from "public"."orders" "$Table") "rows" group by "status") "_" where not "_"."a0" is null limit 1000001
;
SELECT floor(extract(epoch from at)/60)*60 AS time, kind AS metric, count(*) AS value FROM events WHERE at BETWEEN '2026-01-01T00:00:00Z' AND '2026-12-31T00:00:00Z' GROUP BY 1, 2 ORDER BY 1
;
SELECT generate_series(date_trunc('hour', now() - interval '1 day'), now(), '1 hour') AS bucket
;
SELECT time_bucket AS "time", avg(v) FROM (SELECT date_bin('5 minutes', at, timestamp '2026-01-01') AS time_bucket, value AS v FROM metrics) x GROUP BY 1
;
SELECT id, name, price, AVG(price) OVER (PARTITION BY category_id) AS mean, price - LAG(price) OVER (PARTITION BY category_id ORDER BY price) AS step, NTILE(4) OVER (ORDER BY price) FROM products
;
SELECT customer_id, placed_at, SUM(total) OVER (PARTITION BY customer_id ORDER BY placed_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM orders
;
WITH monthly AS (SELECT date_trunc('month', placed_at) AS m, sum(total) AS t FROM orders GROUP BY 1), change AS (SELECT m, t, lag(t) OVER (ORDER BY m) AS before FROM monthly) SELECT m, t, round(100 * (t - before) / nullif(before, 0), 1) AS percent FROM change ORDER BY m
;
WITH RECURSIVE tree AS (SELECT id, parent_id, name, 1 AS depth, ARRAY[id] AS path FROM categories WHERE parent_id IS NULL UNION ALL SELECT c.id, c.parent_id, c.name, t.depth + 1, t.path || c.id FROM categories c JOIN tree t ON c.parent_id = t.id) SELECT * FROM tree ORDER BY path
;
WITH cohort AS MATERIALIZED (SELECT customer_id, min(placed_at) AS first FROM orders GROUP BY 1) SELECT date_trunc('week', first), count(*), percentile_disc(0.9) WITHIN GROUP (ORDER BY first) FROM cohort GROUP BY ROLLUP (1)
;
SELECT status, country, count(*) FROM orders JOIN customers ON customers.id = customer_id GROUP BY GROUPING SETS ((status), (country), ())
;
SELECT status, country, grouping(status, country), sum(total) FROM orders JOIN customers ON customers.id = customer_id GROUP BY CUBE (status, country)
;
SELECT c.name, recent.id, recent.total FROM customers c CROSS JOIN LATERAL (SELECT id, total FROM orders o WHERE o.customer_id = c.id ORDER BY placed_at DESC LIMIT 3) recent
;
SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders EXCEPT SELECT author_id FROM posts)
;
SELECT name, count(*) FILTER (WHERE stock = 0) AS out, bool_or(price > 10), string_agg(name, ', ' ORDER BY name) FROM products GROUP BY name
;
SELECT settings -> 'theme', settings ->> 'theme', settings #> '{a,b}', settings @> '{"a": 1}', settings ? 'a', jsonb_path_query_array(settings, '$.a') FROM customers
;
SELECT e.id, x.key, x.value FROM events e, jsonb_each_text(e.payload) x
;
SELECT * FROM json_to_recordset('[{"a": 1}]') AS x(a int)
;
SELECT jt.* FROM events, JSON_TABLE(payload, '$' COLUMNS (a int PATH '$.a')) AS jt
;
SELECT unnest(tags) AS tag, count(*) FROM customers GROUP BY 1 ORDER BY 2 DESC
;
SELECT id, title, ts_rank(to_tsvector('english', body), websearch_to_tsquery('english', 'body')) AS rank, ts_headline(body, to_tsquery('body')) FROM posts WHERE to_tsvector('english', body) @@ websearch_to_tsquery('english', 'body') ORDER BY rank DESC
;
SELECT * FROM products TABLESAMPLE BERNOULLI (10) REPEATABLE (7)
;
SELECT * FROM orders ORDER BY random() LIMIT 5
;
SELECT gen_random_uuid(), now(), clock_timestamp(), current_date, localtime, timeofday()
;
SELECT * FROM active_customers WHERE orders > 2
;
SELECT * FROM reporting.revenue ORDER BY month
;
SELECT * FROM reporting.top_customers WHERE place <= 10
;
SELECT * FROM daily_sales WHERE day > current_date - 30
;
SELECT id, order_total(id) FROM orders
;
SELECT full_label(c) FROM customers c
;
SELECT slug(title) FROM posts
;
SELECT * FROM orders_of(3) WHERE total > 10
;
SELECT count_orders(3)
;
SELECT * FROM customers WHERE is_member(id)
;
SELECT * FROM products WHERE id =~= 3
;
SELECT * FROM documents
;
SELECT count(*) FROM events WHERE at >= '2026-01-01' AND at < '2026-02-01'
;
SELECT tableoid::regclass, count(*) FROM events GROUP BY 1
;
EXPLAIN SELECT * FROM orders WHERE customer_id = 1
;
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT count(*) FROM orders
;
VALUES (1, 'a'), (2, 'b')
;
TABLE categories
;
COPY (SELECT * FROM orders ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)
;
COPY products TO STDOUT
;
SELECT 1; SELECT count(*) FROM orders
;
SELECT nation, o_year, sum(amount) AS sum_profit FROM (SELECT c.country AS nation, extract(year FROM o.placed_at) AS o_year, i.unit_price * i.quantity AS amount FROM customers c, orders o, order_items i, products p WHERE o.customer_id = c.id AND i.order_id = o.id AND p.id = i.product_id AND p.name LIKE '%1%') AS profit GROUP BY nation, o_year ORDER BY nation, o_year DESC
;
SELECT p.name, sum(i.quantity) FROM order_items i JOIN products p ON p.id = i.product_id WHERE EXISTS (SELECT * FROM orders o WHERE o.id = i.order_id AND o.placed_at BETWEEN date '2026-01-01' AND date '2027-01-01' + interval '3' month) GROUP BY p.name ORDER BY 2 DESC NULLS LAST LIMIT 10
;
SELECT 100.00 * sum(CASE WHEN p.name LIKE 'PROMO%' THEN i.unit_price ELSE 0 END) / nullif(sum(i.unit_price), 0) AS promo FROM order_items i, products p WHERE i.product_id = p.id
;
SELECT c.country, count(*) AS numcust, sum(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.total > (SELECT avg(total) FROM orders WHERE total > 0.00) AND NOT EXISTS (SELECT 1 FROM posts WHERE author_id = c.id AND NOT published) GROUP BY 1
;
SELECT has_table_privilege('orders', 'select'), pg_get_viewdef('active_customers'::regclass), obj_description('orders'::regclass)
;
SELECT last_value, is_called FROM tickets
;
SELECT * FROM pg_catalog.pg_sequences
;
SELECT pg_typeof(total), width_bucket(total, 0, 100, 10) FROM orders
