//! What tokio-postgres sees: `tokio-postgres DSN`. Pipelined queries, statements, portals, COPY, messages between.

mod session;
mod statements;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// For one scenario.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a driver can be surprised by ends the scenario with its words.
pub type Saw = Result<Value, Error>;
type Scenario = fn(String) -> Pin<Box<dyn Future<Output = Saw>>>;

macro_rules! scenarios {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((stringify!($name), |dsn| Box::pin($module::$name(dsn)))),*]
    };
}

const SCENARIOS: &[(&str, Scenario)] = scenarios![
    session::connect,
    session::refused,
    session::types,
    session::errors_in_transactions,
    session::savepoints,
    session::settings,
    session::cancel,
    session::notifications,
    session::several_statements,
    statements::prepared,
    statements::changed_result_type,
    statements::pipelined,
    statements::portals,
    statements::copy,
    statements::large_values,
    statements::concurrent,
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dsn = arguments
        .next()
        .expect("usage: tokio-postgres DSN [SCENARIO…]");
    let wanted: Vec<String> = arguments.collect();
    for (name, scenario) in SCENARIOS {
        if wanted.is_empty() || wanted.iter().any(|each| each == name) {
            let mut line = outcome(scenario(dsn.clone())).await;
            line["scenario"] = json!(name);
            println!("{line}");
        }
    }
}

async fn outcome(scenario: impl Future<Output = Saw>) -> Value {
    match tokio::time::timeout(DEADLINE, AssertUnwindSafe(scenario).catch_unwind()).await {
        Ok(Ok(Ok(saw))) => json!({ "saw": saw }),
        Ok(Ok(Err(error))) => json!({ "failed": format!("{error:?}") }),
        Ok(Err(_)) => json!({ "failed": "panicked" }),
        Err(late) => json!({ "failed": late.to_string() }),
    }
}

/// A client whose connection is driven by a task of its own.
pub async fn open(dsn: &str) -> Result<Client, Error> {
    open_with(&dsn.parse()?).await
}

pub async fn open_with(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The texts of all rows of one or several statements, and their command tags' counts, by the simple protocol.
pub async fn simple(client: &Client, query: &str) -> Saw {
    let messages = client.simple_query(query).await?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(json!(
                (0..row.len()).map(|at| row.get(at)).collect::<Vec<_>>()
            )),
            SimpleQueryMessage::CommandComplete(count) => Some(json!(count)),
            _ => None,
        })
        .collect())
}

/// What a program looks at in an error.
pub fn failure<T>(result: Result<T, Error>) -> Value {
    match result {
        Ok(_) => json!("no error"),
        Err(error) => match error.as_db_error() {
            Some(told) => json!([
                told.severity(),
                told.code().code(),
                told.message(),
                told.constraint()
            ]),
            None => json!(error.to_string()),
        },
    }
}
