//! The snapshot that Python hands over, complete and validated (`helios.config.snapshot`): no defaults, no unknown fields.

mod routing;
mod tls;

use std::sync::Arc;

use serde::Deserialize;

pub use routing::*;
pub use tls::*;

/// Everything the engine needs to know, resolved.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Monotonic number of the configuration.
    pub generation: u64,
    /// Threads, each with its own runtime; fixed at start.
    pub workers: usize,
    /// Clients that one worker gets before the next gets any.
    pub clients_per_worker: usize,
    /// What connections are on; fixed at start.
    pub io: IoBackend,
    /// Addresses to accept clients on; fixed at start.
    pub listen: Vec<Entrance>,
    /// Where to accept clients of this machine as well; fixed at start.
    pub unix_socket: Option<UnixSocket>,
    /// How clients prove who they are.
    pub auth: Auth,
    /// Encryption towards clients; absent is none.
    pub tls: Option<ClientTls>,
    /// Nodes that belong together as one primary with its standbys.
    pub clusters: Vec<Cluster>,
    /// Other processes of the same service; absent is that there are none.
    pub peers: Option<Peers>,
    /// What a client may name as its database.
    pub databases: Vec<Arc<Database>>,
    /// The same at the entrances of standbys; empty where there are none.
    pub readers: Vec<Arc<Database>>,
    /// Where it is kept what was written under consistency keys; absent is nowhere.
    pub consistency_keys: Option<Arc<ConsistencyKeys>>,
    /// Users with limits of their own.
    pub users: Vec<UserSettings>,
    /// The console; absent is none.
    pub console: Option<Console>,
    /// Ceilings.
    pub limits: Limits,
    /// When a peer counts as gone.
    pub tcp: Tcp,
    /// When a node is not asked for reads.
    pub circuit_breaker: CircuitBreaker,
    /// When tables are cold; absent where that is not counted.
    pub temperature: Option<Temperature>,
    /// Spans of statements; absent is none.
    pub tracing: Option<Tracing>,
    /// How transactions outlive their servers; absent is that they do not.
    pub transaction_replay: Option<TransactionReplay>,
    /// What is kept of each transaction that may be run again.
    pub journal: JournalBounds,
}

/// How a transaction whose server is lost is run again.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionReplay {
    /// Servers that one transaction may lose.
    pub max_retries: u32,
    /// What becomes of values that would be others.
    pub mutables: Mutables,
    /// Whether a client is told that its transaction will be lost with its server.
    pub notices: bool,
    /// Whether cursors WITH HOLD are declared again on another server.
    pub holdable_cursors: bool,
    /// Those of one session.
    pub max_cursors: usize,
    /// Bytes of one session's temporary tables.
    pub temp_table_max_bytes: usize,
}

/// What becomes of values that are others each time, where the client has not seen them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mutables {
    /// Their transaction cannot be run again.
    Error,
    /// It has others then.
    AllowUnseen,
}

/// What journals of transactions may hold.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalBounds {
    /// Answered requests of one transaction.
    pub max_entries: usize,
    /// Bytes of its requests.
    pub max_bytes: usize,
    /// The same of all transactions.
    pub max_total_bytes: usize,
}

/// Which statements have spans besides those whose callers say so.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracing {
    /// The share of those whose callers say nothing, from 0 to 1.
    pub sample_ratio: f64,
}

/// Socket back end.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoBackend {
    /// What costs less.
    Auto,
    /// Readiness by epoll.
    Epoll,
    /// Completions by io_uring where it can be had, else epoll.
    IoUring,
}

/// Host name or address, and port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// TCP port; 0 asks for any free one.
    pub port: u16,
}

/// Where clients are accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrance {
    /// Name or address.
    pub host: String,
    /// TCP port; 0 asks for any free one.
    pub port: u16,
    /// What nodes serve those who come this way.
    pub role: Role,
}

/// When the other end of a TCP connection counts as gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Silence after which it is probed; 0 is never.
    pub keepalive_idle_seconds: u64,
    /// Pause between two probes.
    pub keepalive_interval_seconds: u64,
    /// Probes that may stay unanswered.
    pub keepalive_count: u32,
    /// How long sent bytes may stay unacknowledged; 0 is as long as the system says.
    pub user_timeout_ms: u64,
}

/// A Unix socket; the port of the first address names its file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixSocket {
    /// Where the file is made.
    pub folder: String,
    /// Its permissions.
    pub mode: u32,
}

/// How clients prove who they are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Method asked of every client.
    pub method: AuthMethod,
    /// Text of a `pg_hba.conf`, which then decides in place of `method`, `client_name` and `map`.
    pub hba: Option<String>,
    /// Which name of a certificate counts, with method `cert`.
    pub client_name: CertificateName,
    /// The user map to look up the name of a certificate or of a peer in; absent is that it must be the role's.
    pub map: Option<String>,
    /// Lines of all user maps.
    pub ident: Vec<Ident>,
    /// Known users.
    pub users: Vec<User>,
    /// How to ask the server for the others; absent is that there are none.
    pub query: Option<AuthQuery>,
}

/// How to ask the server what it knows of a role.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthQuery {
    /// Role to log in as.
    pub user: String,
    /// Its password; the users file's when absent.
    pub password: Option<String>,
    /// Database to log in to.
    pub database: String,
    /// Takes the role's name, returns it and its secret.
    pub sql: String,
    /// How long an answer holds.
    pub cache_ms: u64,
}

impl std::fmt::Debug for AuthQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthQuery(as {:?})", self.user)
    }
}

/// Method asked of every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AuthMethod {
    /// Nothing is asked.
    #[serde(rename = "trust")]
    Trust,
    /// The password itself.
    #[serde(rename = "password")]
    Password,
    /// A salted md5 hash of it.
    #[serde(rename = "md5")]
    Md5,
    /// SCRAM.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A certificate that names the role.
    #[serde(rename = "cert")]
    Cert,
    /// A process on this machine that runs as a user of the role's name.
    #[serde(rename = "peer")]
    Peer,
}

/// Which name of a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateName {
    /// The common name.
    Cn,
    /// The distinguished name.
    Dn,
}

/// One line of a user map.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ident {
    /// Name of the map.
    pub map: String,
    /// Name of a certificate or of a peer, or a regular expression behind a slash.
    pub system_user: String,
    /// Role it may log in as.
    pub database_user: String,
}

/// One line of the users file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Role name.
    pub name: String,
    /// Plain text, `md5…` or a SCRAM verifier.
    pub secret: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({:?})", self.name)
    }
}

/// Nodes that belong together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name that databases refer to.
    pub name: String,
    /// How they are reached.
    pub tls: ServerTls,
    /// Its servers.
    pub nodes: Vec<Node>,
}

/// One PostgreSQL server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Name, unique in the cluster.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Other processes of the same service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Where they are; each may be several, or this process.
    pub hosts: Vec<Address>,
    /// What they share: the present one, then those that are still taken.
    pub secrets: Vec<String>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers({:?})", self.hosts)
    }
}

/// The name of the entry that stands for every other name.
pub const ANY_DATABASE: &str = "*";

/// Who may use the console.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// The name that leads there instead of to a database.
    pub database: String,
    /// Who may log in; what they may do there is not decided here.
    pub users: Vec<String>,
}

/// What a client may name as its database.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The name; `*` stands for every other one.
    pub name: String,
    /// Cluster that holds it.
    pub cluster: String,
    /// What nodes serve it.
    pub role: Role,
    /// Its name on the server; the client's when absent.
    pub database: Option<String>,
    /// Role to log in as; the client's when absent.
    pub user: Option<String>,
    /// Password of that role.
    pub password: Option<String>,
    /// Clients at a time; 0 is any number.
    pub max_client_connections: usize,
    /// Server connections at a time, of all users; 0 is any number.
    pub max_server_connections: usize,
    /// Its pools.
    pub pool: PoolSettings,
    /// How reads may be spread over nodes; absent is that all goes to the primary.
    pub routing: Option<Routing>,
    /// What the planner is told of that; there as `routing` is.
    pub policy: Option<Policy>,
}

impl Database {
    /// The name that an administrator knows: the entry's, else the one that a client `asked` for, unless all lead to one.
    pub fn shown<'a>(&'a self, asked: &'a str) -> &'a str {
        match self.name.as_str() {
            ANY_DATABASE => self.database.as_deref().unwrap_or(asked),
            name => name,
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({:?} on {:?})", self.name, self.cluster)
    }
}

/// When a server returns to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// When the transaction ends.
    Transaction,
    /// When the statement ends; transaction blocks are refused.
    Statement,
}

impl PoolMode {
    /// The name as configured.
    pub fn as_str(self) -> &'static str {
        match self {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        }
    }
}

/// Pools of one database; each user and node has its own with these settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// When a server returns to its pool.
    pub mode: PoolMode,
    /// Most server connections at a time.
    pub max_size: usize,
    /// More of them for clients that have waited long.
    pub reserve_size: usize,
    /// How long that is.
    pub reserve_timeout_ms: u64,
    /// Server connections kept even if idle.
    pub min_idle: usize,
    /// Idle servers are closed after this; 0 is never.
    pub idle_timeout_ms: u64,
    /// Servers are replaced after this; 0 is never.
    pub max_lifetime_ms: u64,
    /// How long a client waits for a server.
    pub acquire_timeout_ms: u64,
    /// Statement that resets a dirty server; absent is the engine's own targeted reset.
    pub reset_query: Option<String>,
    /// Whether named statements follow the client from server to server.
    pub prepared_statements: bool,
    /// Whether the server is told the client's address behind its application_name.
    pub application_name_add_host: bool,
    /// Whether a client is told when it begins to keep its server between transactions, and why.
    pub pin_notices: bool,
    /// Bytes of statement text kept prepared on one server.
    pub server_prepared_bytes: usize,
}

/// A user with limits of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSettings {
    /// Role that the client names.
    pub name: String,
    /// Its limits.
    pub limits: UserLimits,
}

/// What one user may have.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimits {
    /// Clients at a time; 0 is any number.
    pub max_client_connections: usize,
    /// Server connections at a time that are logged in as it; 0 is any number.
    pub max_server_connections: usize,
    /// Size of each of its pools, in place of the database's.
    pub max_pool_size: Option<usize>,
    /// How long a statement may run; 0 is any time, as below.
    pub query_timeout_ms: u64,
    /// How long a transaction may wait for its client.
    pub idle_transaction_timeout_ms: u64,
    /// How long a client may do nothing.
    pub client_idle_timeout_ms: u64,
    /// How long a client may take nothing of its answer while it has a server.
    pub client_write_timeout_ms: u64,
    /// How old a client may get.
    pub client_max_age_ms: u64,
}

/// Ceilings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Clients at a time.
    pub max_client_connections: usize,
    /// Of them from one address; 0 is any number.
    pub max_address_client_connections: usize,
    /// Connections at a time that have not logged in.
    pub max_unauthenticated_connections: usize,
    /// Of them from one address.
    pub max_address_unauthenticated_connections: usize,
    /// What holds for each user that has no limits of its own.
    pub user: UserLimits,
    /// From accept to the end of the login.
    pub startup_timeout_ms: u64,
    /// Server connections at a time of all pools; 0 is any number.
    pub max_server_connections: usize,
    /// Logins under way at one node.
    pub max_parallel_logins: usize,
    /// TCP connect and login to a server.
    pub connect_timeout_ms: u64,
    /// Named statements of one client.
    pub max_prepared_statements: usize,
    /// Their bytes.
    pub max_prepared_bytes: usize,
    /// That one client listens to.
    pub max_channels: usize,
    /// Of notifications that wait for one client.
    pub max_notification_bytes: usize,
    /// Clients of one pool that wait for a primary.
    pub max_buffered_clients: usize,
    /// What they have sent.
    pub max_buffered_bytes: usize,
}

impl Snapshot {
    /// Reads the document.
    ///
    /// # Errors
    /// What serde says: the field, what was expected, line and column.
    pub fn parse(document: &[u8]) -> Result<Snapshot, String> {
        let snapshot: Snapshot = read("snapshot", document)?;
        for database in snapshot.databases.iter().chain(&snapshot.readers) {
            if !snapshot
                .clusters
                .iter()
                .any(|cluster| cluster.name == database.cluster)
            {
                return Err(format!(
                    "snapshot: databases: {:?} names no known cluster: {:?}",
                    database.name, database.cluster
                ));
            }
            if database.pool.max_size == 0 {
                return Err(format!(
                    "snapshot: databases: {:?}: pool.max_size must be at least 1",
                    database.name
                ));
            }
        }
        if snapshot.workers == 0 {
            return Err("snapshot: workers must be at least 1".to_owned());
        }
        if snapshot.clients_per_worker == 0 {
            return Err("snapshot: clients_per_worker must be at least 1".to_owned());
        }
        Ok(snapshot)
    }

    /// The settings of the pools that lead to this entry as this role.
    pub fn pool_settings(&self, database: &Database, user: &str) -> PoolSettings {
        let mut settings = database.pool.clone();
        let own = self.users.iter().find(|each| each.name == user);
        if let Some(size) = own.and_then(|user| user.limits.max_pool_size) {
            settings.max_size = size;
            settings.min_idle = settings.min_idle.min(size);
        }
        settings
    }

    /// What holds for this user.
    pub fn user_limits(&self, name: &str) -> &UserLimits {
        let own = self.users.iter().find(|user| user.name == name);
        own.map_or(&self.limits.user, |user| &user.limits)
    }

    /// The entry for the name a client gave: its own, else `*`.
    pub fn database(&self, name: &str) -> Option<&Arc<Database>> {
        self.database_at(Role::Primary, name)
    }

    /// The same for who came by an entrance of this role. Only what nodes serve it differs.
    pub fn database_at(&self, entrance: Role, name: &str) -> Option<&Arc<Database>> {
        let entries = match entrance {
            Role::Primary => &self.databases,
            Role::Standby => &self.readers,
        };
        let named = |wanted: &str| entries.iter().find(|database| database.name == wanted);
        named(name).or_else(|| named(ANY_DATABASE))
    }

    /// The name that an administrator knows the database by that a client asks for.
    pub fn shown<'a>(&'a self, asked: &'a str) -> &'a str {
        self.database(asked)
            .map_or(asked, |database| database.shown(asked))
    }

    /// The console, if that is what a client asks for.
    pub fn console(&self, asked: &str) -> Option<&Console> {
        self.console
            .as_ref()
            .filter(|console| console.database == asked)
    }
}

/// Reads a document of the border; errors name the field.
pub(crate) fn read<'a, T: Deserialize<'a>>(what: &str, document: &'a [u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|err| format!("{what}: {}: {}", err.path(), err.inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_snapshot_names_the_field() {
        let document = br#"{"generation": 1, "workers": "many"}"#;
        let refusal = Snapshot::parse(document).expect_err("a word is not a number");
        assert!(
            refusal.starts_with("snapshot: workers: invalid type"),
            "{refusal}"
        );
    }
}
