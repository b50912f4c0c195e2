-- What Django 5 sends for introspection and queries, each text as it was sent.
SELECT oid, typarray FROM pg_type WHERE typname = 'hstore'
;
SELECT oid, typarray FROM pg_type WHERE typname = 'citext'
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."id" = 1 LIMIT 21
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE UPPER("customers"."name"::text) LIKE UPPER('%o%') LIMIT 5
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE NOT ("customers"."country" = 'DE')
;
SELECT COUNT(*) AS "__count" FROM "customers"
;
SELECT 1 AS "a" FROM "customers" WHERE "customers"."vip" LIMIT 1
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "orders" INNER JOIN "customers" ON ("orders"."customer_id" = "customers"."id") WHERE "orders"."status" = 'paid' ORDER BY "orders"."placed_at" DESC LIMIT 20
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."id" < 4
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at" FROM "orders" WHERE "orders"."customer_id" IN (1, 2, 3)
;
SELECT SUM("orders"."total") AS "total__sum", AVG("orders"."total") AS "total__avg", MAX("orders"."placed_at") AS "placed_at__max" FROM "orders"
;
SELECT "orders"."status" AS "status", COUNT("orders"."id") AS "n", SUM("orders"."total") AS "t" FROM "orders" GROUP BY 1
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at" FROM "orders" WHERE "orders"."placed_at" BETWEEN '2026-01-01 00:00:00-06:00'::timestamptz AND '2026-12-31 23:59:59.999999-06:00'::timestamptz
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at" FROM "orders" WHERE ("orders"."placed_at" AT TIME ZONE 'America/Chicago')::date = '2026-11-21'::date
;
SELECT DISTINCT DATE_TRUNC('month', "orders"."placed_at" AT TIME ZONE 'America/Chicago') AS "datefield" FROM "orders" WHERE "orders"."placed_at" IS NOT NULL ORDER BY 1 ASC
;
SELECT DISTINCT DATE_TRUNC('day', "orders"."placed_at" AT TIME ZONE 'America/Chicago') AS "datetimefield" FROM "orders" WHERE "orders"."placed_at" IS NOT NULL ORDER BY 1 ASC
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE (("customers"."country" = 'DE' OR "customers"."vip") AND "customers"."email" IS NOT NULL)
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE ("customers"."settings" -> 'theme') = '"dark"'::jsonb
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."settings" ? 'a'
;
SELECT "customers"."id" AS "id", "customers"."name" AS "name" FROM "customers"
;
SELECT "customers"."id" FROM "customers"
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at" FROM "customers" LIMIT 3
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings", (SELECT U0."total" AS "total" FROM "orders" U0 WHERE U0."customer_id" = ("customers"."id") ORDER BY U0."placed_at" DESC LIMIT 1) AS "last" FROM "customers"
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings", EXISTS(SELECT 1 AS "a" FROM "orders" U0 WHERE U0."customer_id" = ("customers"."id") LIMIT 1) AS "has" FROM "customers"
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", ROW_NUMBER() OVER (PARTITION BY "orders"."customer_id" ORDER BY "orders"."placed_at" DESC) AS "rn" FROM "orders"
;
SELECT DATE_TRUNC('month', "orders"."placed_at" AT TIME ZONE 'America/Chicago') AS "m", COUNT("orders"."id") AS "id__count" FROM "orders" GROUP BY 1
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", CASE WHEN "orders"."total" > 10 THEN 'big' ELSE 'small' END AS "k" FROM "orders"
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" ORDER BY RANDOM() ASC LIMIT 1
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" ORDER BY "customers"."id" ASC LIMIT 1
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" ORDER BY "customers"."id" DESC LIMIT 1
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" ORDER BY "customers"."created_at" DESC LIMIT 1
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."id" IN (1, 2, 3)
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."id" BETWEEN 1 AND 5
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE ("customers"."name"::text LIKE '%1' AND "customers"."name"::text LIKE 'C%')
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."name"::text ~ '^C.*'
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."created_at" >= '2026-11-14 20:11:42.902571+00:00'::timestamptz
;
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country", "customers"."vip", "customers"."created_at", "customers"."settings" FROM "customers" WHERE "customers"."id" IN (1, 2)
;
(SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers" WHERE "customers"."id" < 3) UNION (SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers" WHERE "customers"."id" > 18)
;
(SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers" WHERE "customers"."id" < 3) INTERSECT (SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers")
;
(SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers" WHERE "customers"."id" < 9) EXCEPT (SELECT "customers"."id" AS "col1", "customers"."name" AS "col2", "customers"."email" AS "col3", "customers"."country" AS "col4", "customers"."vip" AS "col5", "customers"."created_at" AS "col6", "customers"."settings" AS "col7" FROM "customers" WHERE "customers"."id" = 1)
;
SELECT "posts"."id", "posts"."author_id", "posts"."title", "posts"."body", "posts"."published", "posts"."published_at", to_tsvector(COALESCE("posts"."title", '') || ' ' || COALESCE("posts"."body", '')) AS "search" FROM "posts" WHERE to_tsvector(COALESCE("posts"."title", '') || ' ' || COALESCE("posts"."body", '')) @@ (plainto_tsquery('title'))
;
SELECT "posts"."id", "posts"."author_id", "posts"."title", "posts"."body", "posts"."published", "posts"."published_at", ts_rank(to_tsvector(COALESCE("posts"."title", '')), plainto_tsquery('body')) AS "rank" FROM "posts" ORDER BY 7 DESC
;
SELECT ARRAY_AGG("products"."name" ) AS "names", STRING_AGG("products"."name", ',' ) AS "s" FROM "products"
;
SELECT "categories"."name" AS "category__name", AVG("products"."price") AS "price__avg" FROM "products" INNER JOIN "categories" ON ("products"."category_id" = "categories"."id") INNER JOIN "categories" T3 ON ("categories"."parent_id" = T3."id") WHERE T3."name" = 'All' GROUP BY 1
;
SELECT "products"."id", "products"."category_id", "products"."name", "products"."price", "products"."stock" FROM "products" WHERE "products"."stock" < ("products"."price")
;
SELECT "categories"."id", "categories"."parent_id", "categories"."name" FROM "categories" WHERE "categories"."parent_id" IS NULL
;
SELECT "customers"."country" AS "customer__country", SUM("orders"."total") AS "t" FROM "orders" INNER JOIN "customers" ON ("orders"."customer_id" = "customers"."id") GROUP BY 1 HAVING SUM("orders"."total") > 1
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", EXTRACT(DOW FROM "orders"."placed_at" AT TIME ZONE 'America/Chicago') + 1 AS "a" FROM "orders"
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", COALESCE("orders"."total", 0) AS "c" FROM "orders"
;
SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at", SUM("orders"."total") OVER (ORDER BY "orders"."placed_at") AS "run" FROM "orders"
;
EXPLAIN SELECT "orders"."id", "orders"."customer_id", "orders"."status", "orders"."total", "orders"."placed_at" FROM "orders" WHERE "orders"."status" = 'x'
;
select * from customers where id = 1
;
SELECT
                c.relname,
                CASE
                    WHEN c.relispartition THEN 'p'
                    WHEN c.relkind IN ('m', 'v') THEN 'v'
                    ELSE 't'
                END,
                obj_description(c.oid, 'pg_class')
            FROM pg_catalog.pg_class c
            LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v')
                AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
                AND pg_catalog.pg_table_is_visible(c.oid)
;
SELECT
                a.attname AS column_name,
                NOT (a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)) AS is_nullable,
                pg_get_expr(ad.adbin, ad.adrelid) AS column_default,
                CASE WHEN collname = 'default' THEN NULL ELSE collname END AS collation,
                a.attidentity != '' AS is_autofield,
                col_description(a.attrelid, a.attnum) AS column_comment
            FROM pg_attribute a
            LEFT JOIN pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum
            LEFT JOIN pg_collation co ON a.attcollation = co.oid
            JOIN pg_type t ON a.atttypid = t.oid
            JOIN pg_class c ON a.attrelid = c.oid
            JOIN pg_namespace n ON c.relnamespace = n.oid
            WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v')
                AND c.relname = 'orders'
                AND n.nspname NOT IN ('pg_catalog', 'pg_toast')
                AND pg_catalog.pg_table_is_visible(c.oid)
;
SELECT * FROM "orders" LIMIT 1
;
SELECT
                s.relname AS sequence_name,
                a.attname AS colname
            FROM
                pg_class s
                JOIN pg_depend d ON d.objid = s.oid
                    AND d.classid = 'pg_class'::regclass
                    AND d.refclassid = 'pg_class'::regclass
                JOIN pg_attribute a ON d.refobjid = a.attrelid
                    AND d.refobjsubid = a.attnum
                JOIN pg_class tbl ON tbl.oid = d.refobjid
                    AND tbl.relname = 'audit'
                    AND pg_catalog.pg_table_is_visible(tbl.oid)
            WHERE
                s.relkind = 'S'
;
SELECT a1.attname, c2.relname, a2.attname
            FROM pg_constraint con
            LEFT JOIN pg_class c1 ON con.conrelid = c1.oid
            LEFT JOIN pg_class c2 ON con.confrelid = c2.oid
            LEFT JOIN
                pg_attribute a1 ON c1.oid = a1.attrelid AND a1.attnum = con.conkey[1]
            LEFT JOIN
                pg_attribute a2 ON c2.oid = a2.attrelid AND a2.attnum = con.confkey[1]
            WHERE
                c1.relname = 'orders' AND
                con.contype = 'f' AND
                c1.relnamespace = c2.relnamespace AND
                pg_catalog.pg_table_is_visible(c1.oid)
;
SELECT
                c.conname,
                array(
                    SELECT attname
                    FROM unnest(c.conkey) WITH ORDINALITY cols(colid, arridx)
                    JOIN pg_attribute AS ca ON cols.colid = ca.attnum
                    WHERE ca.attrelid = c.conrelid
                    ORDER BY cols.arridx
                ),
                c.contype,
                (SELECT fkc.relname || '.' || fka.attname
                FROM pg_attribute AS fka
                JOIN pg_class AS fkc ON fka.attrelid = fkc.oid
                WHERE fka.attrelid = c.confrelid AND fka.attnum = c.confkey[1]),
                cl.reloptions
            FROM pg_constraint AS c
            JOIN pg_class AS cl ON c.conrelid = cl.oid
            WHERE cl.relname = 'orders' AND pg_catalog.pg_table_is_visible(cl.oid)
;
SELECT
                indexname,
                array_agg(attname ORDER BY arridx),
                indisunique,
                indisprimary,
                array_agg(ordering ORDER BY arridx),
                amname,
                exprdef,
                s2.attoptions
            FROM (
                SELECT
                    c2.relname as indexname, idx.*, attr.attname, am.amname,
                    CASE
                        WHEN idx.indexprs IS NOT NULL THEN
                            pg_get_indexdef(idx.indexrelid)
                    END AS exprdef,
                    CASE am.amname
                        WHEN 'btree' THEN
                            CASE (option & 1)
                                WHEN 1 THEN 'DESC' ELSE 'ASC'
                            END
                    END as ordering,
                    c2.reloptions as attoptions
                FROM (
                    SELECT *
                    FROM
                        pg_index i,
                        unnest(i.indkey, i.indoption)
                            WITH ORDINALITY koi(key, option, arridx)
                ) idx
                LEFT JOIN pg_class c ON idx.indrelid = c.oid
                LEFT JOIN pg_class c2 ON idx.indexrelid = c2.oid
                LEFT JOIN pg_am am ON c2.relam = am.oid
                LEFT JOIN
                    pg_attribute attr ON attr.attrelid = c.oid AND attr.attnum = idx.key
                WHERE c.relname = 'orders' AND pg_catalog.pg_table_is_visible(c.oid)
            ) s2
            GROUP BY indexname, indisunique, indisprimary, amname, exprdef, attoptions
