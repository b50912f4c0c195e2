// What node-postgres sees: `node main.js DSN`. Named statements, pipelined clients' queues, cursors, streams, COPY.
"use strict";

const { pipeline } = require("node:stream/promises");
const { Readable } = require("node:stream");
const pg = require("pg");
const Cursor = require("pg-cursor");
const QueryStream = require("pg-query-stream");
const { from: copyFrom, to: copyTo } = require("pg-copy-streams");

const DEADLINE = 20_000; // milliseconds for one scenario

const dsn = process.argv[2];

/** A connected client that is ended after `work`, also when it fails. */
async function withClient(work, options = {}) {
  const client = new pg.Client({ connectionString: dsn, ...options });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Two clients at once. */
const withTwo = (work) => withClient((one) => withClient((two) => work(one, two)));

const rows = async (client, ...query) => (await client.query(...query)).rows;
const value = async (client, ...query) => Object.values((await rows(client, ...query))[0])[0];
const shown = async (client, ...names) =>
  Promise.all(names.map((name) => value(client, "select current_setting($1, true)", [name])));

/** The fields of an error that a program looks at, or that there was none. */
async function failure(promise) {
  try {
    await promise;
    return "no error";
  } catch (error) {
    return [error.severity, error.code, error.message, error.detail, error.constraint].filter((each) => each != null);
  }
}

const scenarios = {
  async connect() {
    const options = { application_name: "the shop", options: "-c work_mem=21MB -c search_path=nowhere,public" };
    return withClient(
      async (client) => [
        await shown(client, "application_name", "work_mem", "search_path", "client_encoding", "statement_timeout"),
        await value(client, "select $1::text || 'ü'", ["é"]),
      ],
      { ...options, statement_timeout: 31_000, lock_timeout: 5_000 },
    );
  },

  async refused() {
    const seen = [];
    for (const wrong of [{ password: "wrong" }, { user: "nobody_here" }, { database: "no_such_database" }]) {
      const url = new URL(dsn);
      const login = { host: url.hostname, port: url.port, user: url.username, database: "drivers" };
      const client = new pg.Client({ ...login, password: decodeURIComponent(url.password), ...wrong });
      seen.push(await failure(client.connect()));
    }
    return seen;
  },

  async types() {
    const values = {
      bool: true, int8: "-4611686018427387904", float8: 1.5, numeric: "12345678901234567890.123", text: "é✓",
      bytea: Buffer.from([0, 255]), date: "2024-02-29", timestamptz: "2024-02-29T12:00:00Z", jsonb: { a: [1, null] },
      uuid: "00000000-0000-0000-0000-000000000001", "int4[]": [1, null, 3], "text[]": ["a", 'b"c'], interval: "3 days",
    };
    return withClient(async (client) => {
      const seen = [];
      for (const [type, each] of Object.entries(values)) {
        const result = await client.query(`select $1::${type} as found`, [each]);
        seen.push([type, result.rows, result.fields[0].dataTypeID]);
      }
      seen.push(await rows(client, { text: "select $1::int + 1, null, 'x'", values: [1], rowMode: "array" }));
      return seen;
    });
  },

  async prepared() {
    return withTwo(async (one, two) => {
      const seen = [];
      for (let number = 0; number < 40; number++) {
        seen.push(await value(one, { name: "same name", text: "select $1::int + 1", values: [number] }));
        seen.push(await value(two, { name: "same name", text: "select $1::int * 2", values: [number] }));
      }
      for (let number = 0; number < 5; number++) {
        await one.query("begin");
        await two.query("begin");
        seen.push(await value(one, { name: "same name", text: "select $1::int + 1", values: [number] }));
        seen.push(await value(two, { name: "same name", text: "select $1::int * 2", values: [number] }));
        await two.query("commit");
        await one.query("rollback");
      }
      return seen;
    });
  },

  async changed_result_type() {
    return withTwo(async (one, two) => {
      const query = { name: "all of it", text: "select * from changing" };
      await two.query("create table changing (a int); insert into changing values (1)");
      const seen = [await rows(one, query), await rows(one, query)];
      await two.query("alter table changing add column b text default 'new'");
      await one.query("begin");
      seen.push(await failure(rows(one, query)));
      await one.query("rollback");
      return seen;
    });
  },

  async errors_in_transactions() {
    return withClient(async (client) => {
      const seen = [];
      await client.query("create table unique_rows (id int primary key)");
      const broken = ["select 1 / 0", "selec 1", "select * from missing", "insert into unique_rows values (1), (1)"];
      for (const text of broken) {
        for (const query of [{ text }, { text, values: [] }, { text, name: text }]) {
          await client.query("begin");
          await client.query("insert into unique_rows values (7)");
          seen.push(await failure(client.query(query)));
          seen.push(await failure(client.query("select 1")));
          seen.push((await client.query("commit")).command);
        }
      }
      seen.push(await value(client, "select count(*) from unique_rows"));
      return seen;
    });
  },

  async savepoints() {
    return withClient(async (client) => {
      await client.query("create table kept (id int)");
      await client.query("begin");
      for (let number = 0; number < 4; number++) {
        await client.query("savepoint here");
        await client.query("insert into kept values ($1)", [number]);
        await client.query(number % 2 ? "rollback to here" : "release here");
      }
      await client.query("commit");
      return rows(client, "select id from kept");
    });
  },

  async settings() {
    const names = ["work_mem", "search_path", "TimeZone", "DateStyle", "app.me"];
    return withClient(async (client) => {
      const seen = [await shown(client, ...names)];
      for (const text of [
        "set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'here'",
        "set time zone 'Asia/Tokyo'", "set local work_mem = '18MB'", "select set_config('work_mem', '19MB', false)",
        "set datestyle to german", "reset work_mem", "reset all",
      ]) {
        for (const end of ["rollback", "commit"]) {
          await client.query("begin");
          await client.query(text);
          seen.push(await shown(client, ...names));
          await client.query(end);
          seen.push(await shown(client, ...names));
        }
        seen.push(await value(client, "select '2024-07-01 12:00+00'::timestamptz::text"));
      }
      return seen;
    });
  },

  async large_values() {
    return withClient(async (client) => {
      const data = Buffer.alloc(3_000_000, "abc");
      const seen = [data.equals(await value(client, "select $1::bytea", [data]))];
      const many = await rows(client, "select n, repeat('x', n % 300) as text from generate_series(1, $1::int) n", [20000]);
      return [...seen, many.length, many.reduce((sum, row) => sum + row.text.length, 0)];
    });
  },

  async copy() {
    return withClient(async (client) => {
      await client.query("create table copied (id int, body text)");
      const lines = Array.from({ length: 5000 }, (_, number) => `${number}\trow ${number}\n`);
      await pipeline(Readable.from(lines), client.query(copyFrom("copy copied from stdin")));
      let size = 0;
      for await (const block of client.query(copyTo("copy copied to stdout"))) size += block.length;
      const wrong = pipeline(Readable.from(["not a number\ttext\n"]), client.query(copyFrom("copy copied from stdin")));
      return [size, await failure(wrong), await value(client, "select count(*) from copied")];
    });
  },

  async cancel() {
    const seen = [];
    await withClient(
      async (client) => {
        for (let turn = 0; turn < 3; turn++) {
          const sleeping = failure(client.query("select pg_sleep(15)"));
          await new Promise((resolve) => setTimeout(resolve, 150));
          const canceller = new pg.Client({ connectionString: dsn });
          canceller.cancel(client, client.activeQuery ?? client._activeQuery);
          seen.push(await sleeping);
        }
        seen.push(await value(client, "select 'usable'"));
      },
    );
    await withClient(async (client) => seen.push(await failure(client.query("select pg_sleep(15)"))), {
      statement_timeout: 80,
    });
    return seen;
  },

  async notifications() {
    return withTwo(async (listener, sender) => {
      const heard = [];
      const three = new Promise((resolve) => {
        listener.on("notification", ({ channel, payload }) => heard.push([channel, payload]) === 3 && resolve());
      });
      await listener.query("listen news");
      await sender.query("begin; notify news, 'first'; select pg_notify('news', 'second'); commit");
      await listener.query("select pg_notify('news', $1)", ["own"]);
      await three;
      await listener.query("unlisten news");
      await sender.query("notify news, 'late'");
      await listener.query("select 1");
      return heard.sort();
    });
  },

  async cursors() {
    return withClient(async (client) => {
      await client.query("begin");
      const cursor = client.query(new Cursor("select n from generate_series(1, $1::int) n", [1000]));
      const seen = [await cursor.read(3), (await cursor.read(500)).length, (await cursor.read(1000)).length];
      await cursor.close();
      let sum = 0;
      const stream = client.query(new QueryStream("select n from generate_series(1, 1000) n", [], { batchSize: 50 }));
      for await (const row of stream) sum += row.n;
      await client.query("declare mine cursor for select n from generate_series(1, 10) n");
      seen.push(sum, await rows(client, "fetch 2 from mine"), await rows(client, "fetch 2 from mine"));
      await client.query("commit");
      // Outside a transaction: the portal lives until the driver's Sync at its end.
      const outside = client.query(new Cursor("select n from generate_series(1, 100) n"));
      seen.push((await outside.read(10)).length, (await outside.read(10)).length);
      await outside.close();
      return [...seen, await value(client, "select 'usable'")];
    });
  },

  async several_statements() {
    return withClient(async (client) => {
      const results = await client.query("select 1 as a; select 2 as b; create temp table t (a int); drop table t");
      const seen = results.map(({ command, rows: found }) => [command, found]);
      seen.push(await failure(client.query("create table half (a int); select 1 / 0")));
      seen.push(await value(client, "select to_regclass('half')"), (await client.query("")).command);
      return seen;
    });
  },

  async queued() {
    return withClient(async (client) => {
      const all = Array.from({ length: 200 }, (_, n) => value(client, "select 100 / ($1::int % 10)", [n]).catch((e) => e.code));
      return Promise.all(all);
    });
  },

  async notices() {
    return withClient(async (client) => {
      const seen = [];
      client.on("notice", ({ severity, code, message }) => seen.push([severity, code, message]));
      await client.query("do $$ begin raise notice 'hear'; raise warning 'and this'; end $$");
      return seen;
    });
  },

  async pooled() {
    const pool = new pg.Pool({ connectionString: dsn, max: 8 });
    const work = async (number) => {
      const seen = new Set();
      for (let turn = 0; turn < 20; turn++) {
        const client = await pool.connect();
        try {
          await client.query("begin");
          await client.query(`set local app.worker = '${number}'`);
          const query = { name: "look", text: "select $1::int * 1000 + $2::int as n, current_setting('app.worker') as w" };
          const [found] = await rows(client, { ...query, values: [number, turn] });
          await client.query("commit");
          seen.add(`${found.n - turn} ${found.w}`);
        } finally {
          client.release();
        }
      }
      return [...seen].sort();
    };
    const found = await Promise.all(Array.from({ length: 16 }, (_, number) => work(number)));
    await pool.end();
    return found;
  },

  async concurrent() {
    const work = (number) =>
      withClient(async (client) => {
        await client.query(`set app.worker = '${number}'; set work_mem = '${number + 10}MB'`);
        const seen = new Set();
        for (let turn = 0; turn < 40; turn++) {
          const text = "select $1::int * 1000 + $2::int as n, current_setting('work_mem') || current_setting('app.worker') as w";
          const [found] = await rows(client, { name: `look ${turn % 3}`, text, values: [number, turn] });
          seen.add(`${found.n - turn} ${found.w}`);
        }
        return [...seen].sort();
      });
    return Promise.all(Array.from({ length: 8 }, (_, number) => work(number)));
  },
};

/** What a scenario saw, or why it failed. */
async function outcome(scenario) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${DEADLINE} ms`)), DEADLINE);
  });
  try {
    return { saw: await Promise.race([scenario(), late]) };
  } catch (error) {
    return { failed: `${error.name}: ${error.message}` };
  } finally {
    clearTimeout(timer);
  }
}

async function main() {
  const names = process.argv.slice(3);
  for (const name of names.length ? names : Object.keys(scenarios)) {
    console.log(JSON.stringify({ scenario: name, ...(await outcome(scenarios[name])) }));
  }
  process.exit(0); // a scenario that was late may hold a connection
}

main();
