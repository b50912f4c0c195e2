//! Prepared statements, pipelines, portals, COPY, large values, many clients at once.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{SinkExt as _, TryStreamExt as _, pin_mut};
use serde_json::{Value, json};
use tokio_postgres::types::Type;

use crate::{Saw, failure, open, simple};

pub async fn prepared(dsn: String) -> Saw {
    let (one, two) = (open(&dsn).await?, open(&dsn).await?);
    let plus = one.prepare("select $1::int + 1").await?;
    let times = two.prepare_typed("select $1 * 2", &[Type::INT4]).await?;
    let mut seen = vec![json!(
        plus.params()
            .iter()
            .chain(times.params())
            .map(Type::name)
            .collect::<Vec<_>>()
    )];
    for number in 0..40 {
        let sum: i32 = one.query_one(&plus, &[&number]).await?.get(0);
        let product: i32 = two.query_one(&times, &[&number]).await?.get(0);
        seen.push(json!([sum, product]));
    }
    drop(plus); // closes the statement behind the next message
    seen.push(simple(&one, "select 'after the Close'").await?);
    one.batch_execute("begin").await?;
    two.batch_execute("begin").await?;
    let product: i32 = two.query_one(&times, &[&100]).await?.get(0);
    one.batch_execute("commit").await?;
    two.batch_execute("rollback").await?;
    seen.push(json!(product));
    Ok(json!(seen))
}

/// tokio-postgres binds without describing again, and decodes by the columns of the Parse.
pub async fn changed_result_type(dsn: String) -> Saw {
    let (one, two) = (open(&dsn).await?, open(&dsn).await?);
    two.batch_execute("create table changing (a int); insert into changing values (1)")
        .await?;
    let all = one.prepare("select * from changing").await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(json!(one.query_one(&all, &[]).await?.get::<_, i32>(0)));
    }
    two.batch_execute("alter table changing add column b text default 'new'")
        .await?;
    seen.push(failure(one.query_one(&all, &[]).await));
    let again = one.prepare("select * from changing").await?;
    seen.push(json!(one.query_one(&again, &[]).await?.get::<_, String>(1)));
    Ok(json!(seen))
}

pub async fn pipelined(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    let divide = client.prepare("select 120 / $1::int").await?;
    let divisors: Vec<i32> = (0..100).map(|number| number % 5).collect();
    let all = divisors.iter().map(|divisor| async {
        match client.query_one(&divide, &[divisor]).await {
            Ok(row) => json!(row.get::<_, i32>(0)),
            Err(error) => failure(Err::<(), _>(error)),
        }
    });
    let seen: Vec<Value> = futures_util::future::join_all(all).await;
    Ok(json!([seen, simple(&client, "select 'usable'").await?]))
}

pub async fn portals(dsn: String) -> Saw {
    let mut client = open(&dsn).await?;
    let transaction = client.transaction().await?;
    let numbers = transaction
        .bind("select n from generate_series(1, $1::int) n", &[&100])
        .await?;
    let letters = transaction
        .bind("select chr(96 + n) from generate_series(1, 26) n", &[])
        .await?;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let part = transaction.query_portal(&numbers, 7).await?;
        seen.push(json!(
            part.iter()
                .map(|row| row.get::<_, i32>(0))
                .collect::<Vec<_>>()
        ));
        let part = transaction.query_portal(&letters, 3).await?;
        seen.push(json!(
            part.iter()
                .map(|row| row.get::<_, String>(0))
                .collect::<Vec<_>>()
        ));
    }
    seen.push(json!(transaction.query_portal(&numbers, 0).await?.len()));
    transaction.commit().await?;
    Ok(json!(seen))
}

pub async fn copy(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    client
        .batch_execute("create table copied (id int, body text)")
        .await?;
    let sink = client.copy_in::<_, Bytes>("copy copied from stdin").await?;
    pin_mut!(sink);
    for number in 0..5000 {
        sink.send(Bytes::from(format!("{number}\trow {number}\n")))
            .await?;
    }
    let mut seen = vec![json!(sink.finish().await?)];
    let wrong = client.copy_in::<_, Bytes>("copy copied from stdin").await?;
    pin_mut!(wrong);
    wrong.send(Bytes::from("not a number\ttext\n")).await?;
    seen.push(failure(wrong.finish().await));
    {
        let left = client.copy_in::<_, Bytes>("copy copied from stdin").await?;
        pin_mut!(left);
        left.send(Bytes::from("1\tdropped half way\n")).await?;
    }
    let out: Vec<Bytes> = client
        .copy_out("copy copied to stdout")
        .await?
        .try_collect()
        .await?;
    seen.push(json!([
        out.len(),
        out.iter().map(Bytes::len).sum::<usize>()
    ]));
    seen.push(simple(&client, "select count(*) from copied").await?);
    Ok(json!(seen))
}

pub async fn large_values(dsn: String) -> Saw {
    let client = open(&dsn).await?;
    let mut seen = Vec::new();
    for size in [1, 8191, 65_536, 5_000_000] {
        let data = vec![7_u8; size];
        let row = client.query_one("select $1::bytea", &[&data]).await?;
        seen.push(json!(row.get::<_, &[u8]>(0) == data));
    }
    let many = client
        .query(
            "select n, repeat('x', n % 300) from generate_series(1, 20000) n",
            &[],
        )
        .await?;
    seen.push(json!([
        many.len(),
        many.iter()
            .map(|row| row.get::<_, &str>(1).len())
            .sum::<usize>()
    ]));
    Ok(json!(seen))
}

pub async fn concurrent(dsn: String) -> Saw {
    let all = (0..8).map(|number: i32| {
        let dsn = dsn.clone();
        async move {
            let mut client = open(&dsn).await?;
            client.batch_execute(&format!("set app.worker = '{number}'; set work_mem = '{}MB'", number + 10)).await?;
            let text = "select $1::int - $1::int, current_setting('work_mem') || current_setting('app.worker')";
            let look = client.prepare(text).await?;
            let mut seen = BTreeSet::new();
            for turn in 0..40 {
                let transaction = client.transaction().await?;
                let row = transaction.query_one(&look, &[&turn]).await?;
                seen.insert(format!("{} {}", row.get::<_, i32>(0), row.get::<_, String>(1)));
                transaction.commit().await?;
            }
            Ok(json!(seen))
        }
    });
    Ok(json!(try_join_all(all).await?))
}
