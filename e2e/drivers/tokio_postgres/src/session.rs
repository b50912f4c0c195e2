//! Logging in, settings, transactions, errors, cancelling, notifications.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::{Saw, failure, open, open_with, simple};

async fn shown(client: &Client, names: &[&str]) -> Saw {
    let mut seen = Vec::new();
    for name in names {
        let row = client
            .query_one("select current_setting($1, true)", &[name])
            .await?;
        seen.push(row.get::<_, Option<String>>(0));
    }
    Ok(json!(seen))
}

pub async fn connect(dsn: String) -> Saw {
    let mut config: Config = dsn.parse()?;
    config
        .application_name("the shop")
        .options("-c work_mem=21MB -c search_path=nowhere,public");
    let (client, connection) = config.connect(NoTls).await?;
    let reported: BTreeMap<_, _> = [
        "server_version",
        "TimeZone",
        "application_name",
        "client_encoding",
        "is_superuser",
    ]
    .map(|name| (name, connection.parameter(name).map(str::to_owned)))
    .into();
    tokio::spawn(connection);
    Ok(json!([
        reported,
        shown(&client, &["application_name", "work_mem", "search_path"]).await?
    ]))
}

pub async fn refused(dsn: String) -> Saw {
    let wrongs: [fn(&mut Config) -> &mut Config; 3] = [
        |config| config.password("wrong"),
        |config| config.user("nobody_here"),
        |config| config.dbname("no_such_database"),
    ];
    let mut seen = Vec::new();
    for wrong in wrongs {
        seen.push(failure(open_with(wrong(&mut dsn.parse()?)).await));
    }
    Ok(json!(seen))
}

pub async fn types(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_208_000_123);
    let values: Vec<(&str, Box<dyn ToSql + Sync>)> = vec![
        ("bool", Box::new(true)),
        ("int8", Box::new(i64::MIN)),
        ("float8", Box::new(f64::NEG_INFINITY)),
        ("text", Box::new("é✓")),
        ("bytea", Box::new(vec![0_u8, 255])),
        ("timestamptz", Box::new(moment)),
        ("int4[]", Box::new(vec![Some(1), None])),
        ("text", Box::new(None::<String>)),
    ];
    let mut seen = Vec::new();
    for (name, value) in &values {
        let text = format!("select $1::{name}::text, pg_typeof($1::{name})::text");
        let row = client.query_one(&text, &[value.as_ref()]).await?;
        seen.push(json!([
            row.get::<_, Option<String>>(0),
            row.get::<_, String>(1)
        ]));
    }
    let row = client
        .query_one(
            "select 1::int2, 2::int8, 'x'::text, $1::bytea",
            &[&vec![1_u8]],
        )
        .await?;
    seen.push(json!([
        row.get::<_, i16>(0),
        row.get::<_, i64>(1),
        row.get::<_, &str>(2),
        row.get::<_, &[u8]>(3)
    ]));
    Ok(json!(seen))
}

pub async fn errors_in_transactions(dsn: String) -> Saw {
    let mut client = open(&dsn).await?;
    client
        .batch_execute("create table unique_rows (id int primary key)")
        .await?;
    let mut seen = Vec::new();
    for query in [
        "select 1 / 0",
        "selec 1",
        "select * from missing",
        "insert into unique_rows values (1), (1)",
    ] {
        for extended in [false, true] {
            let transaction = client.transaction().await?;
            transaction
                .execute("insert into unique_rows values ($1)", &[&7])
                .await?;
            seen.push(if extended {
                failure(transaction.execute(query, &[]).await)
            } else {
                failure(transaction.batch_execute(query).await)
            });
            seen.push(failure(transaction.query("select 1", &[]).await));
            seen.push(failure(transaction.commit().await));
        }
    }
    seen.push(simple(&client, "select count(*) from unique_rows").await?);
    Ok(json!(seen))
}

pub async fn savepoints(dsn: String) -> Saw {
    let mut client = open(&dsn).await?;
    client.batch_execute("create table kept (id int)").await?;
    let mut transaction = client.transaction().await?;
    for number in 0..4 {
        let nested = transaction.savepoint("here").await?;
        nested
            .execute("insert into kept values ($1)", &[&number])
            .await?;
        if number % 2 == 0 {
            nested.commit().await?;
        } // else it is dropped, which rolls back
    }
    transaction.commit().await?;
    let read_only = client.build_transaction().read_only(true).start().await?;
    let refused = failure(read_only.execute("delete from kept", &[]).await);
    read_only.rollback().await?;
    Ok(json!([
        refused,
        simple(&client, "select id from kept").await?
    ]))
}

pub async fn settings(dsn: String) -> Saw {
    const NAMES: &[&str] = &["work_mem", "search_path", "TimeZone", "DateStyle", "app.me"];
    let client = open(&dsn).await?;
    let mut seen = vec![shown(&client, NAMES).await?];
    for query in [
        "set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'here'",
        "set time zone 'Asia/Tokyo'",
        "set local work_mem = '18MB'",
        "select set_config('work_mem', '19MB', false)",
        "set datestyle to german",
        "reset work_mem",
        "reset all",
    ] {
        for end in ["rollback", "commit"] {
            client.batch_execute("begin").await?;
            client.batch_execute(query).await?;
            seen.push(shown(&client, NAMES).await?);
            client.batch_execute(end).await?;
            seen.push(shown(&client, NAMES).await?);
        }
        seen.push(simple(&client, "select '2024-07-01 12:00+00'::timestamptz").await?);
    }
    Ok(json!(seen))
}

pub async fn cancel(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let token = client.cancel_token();
        let cancelling = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            token.cancel_query(NoTls).await
        };
        let (slept, cancelled) = tokio::join!(client.query("select pg_sleep(15)", &[]), cancelling);
        cancelled?;
        seen.push(failure(slept));
        seen.push(simple(&client, "select 'usable'").await?);
    }
    client
        .batch_execute("set statement_timeout = '80ms'")
        .await?;
    seen.push(failure(client.query("select pg_sleep(15)", &[]).await));
    Ok(json!(seen))
}

pub async fn notifications(dsn: String) -> Saw {
    let (listener, mut connection) = dsn.parse::<Config>()?.connect(NoTls).await?;
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                AsyncMessage::Notification(note) => {
                    drop(heard.send(json!([note.channel(), note.payload()])))
                }
                AsyncMessage::Notice(notice) => {
                    drop(heard.send(json!([notice.severity(), notice.message()])))
                }
                _ => {}
            }
        }
    });
    let sender = open(&dsn).await?;
    listener.batch_execute("listen news").await?;
    sender
        .batch_execute("begin; notify news, 'first'; select pg_notify('news', 'second'); commit")
        .await?;
    let mut seen = vec![hearing.recv().await, hearing.recv().await];
    listener
        .query("select pg_notify('news', $1)", &[&"own"])
        .await?;
    seen.push(hearing.recv().await);
    listener
        .batch_execute("do $$ begin raise notice 'hear'; end $$")
        .await?;
    seen.push(hearing.recv().await);
    listener.batch_execute("unlisten news").await?;
    sender.batch_execute("notify news, 'late'").await?;
    simple(&listener, "select 1").await?;
    seen.push(hearing.recv().now_or_never().flatten());
    Ok(json!(seen))
}

pub async fn several_statements(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    let mut seen: Vec<Value> = Vec::new();
    seen.push(
        simple(
            &client,
            "select 1; select 'two', 2; create table half (a int); drop table half; select 3",
        )
        .await?,
    );
    seen.push(failure(
        simple(&client, "create table half (a int); select 1 / 0; select 2").await,
    ));
    seen.push(simple(&client, "select to_regclass('half') is null").await?);
    seen.push(simple(&client, "").await?);
    Ok(json!(seen))
}
