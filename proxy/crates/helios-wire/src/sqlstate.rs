//! SQLSTATEs a pooler sends or has to recognise, under PostgreSQL's own condition names.

/// 00000: no error.
pub const SUCCESSFUL_COMPLETION: &str = "00000";
/// 01000: the general class of warnings.
pub const WARNING: &str = "01000";
/// 08000: something is wrong with the connection, nothing more is known.
pub const CONNECTION_EXCEPTION: &str = "08000";
/// 08001: the server could not be reached.
pub const SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION: &str = "08001";
/// 08003: the connection is gone.
pub const CONNECTION_DOES_NOT_EXIST: &str = "08003";
/// 08004: the server refused the connection.
pub const SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION: &str = "08004";
/// 08006: the connection broke; drivers treat it as "reconnect".
pub const CONNECTION_FAILURE: &str = "08006";
/// 08007: the connection broke during COMMIT, so its outcome is unknown.
pub const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";
/// 08P01: the peer broke the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// 0A000: not supported; also "cached plan must not change result type".
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// 22021: bytes that are no text in the encoding expected.
pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
/// 22023: a parameter has a value it cannot take.
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// 25001: a statement that must not run inside a transaction did.
pub const ACTIVE_SQL_TRANSACTION: &str = "25001";
/// 25006: a write reached a standby or a read-only transaction.
pub const READ_ONLY_SQL_TRANSACTION: &str = "25006";
/// 25P01: a statement that needs a transaction ran outside of one.
pub const NO_ACTIVE_SQL_TRANSACTION: &str = "25P01";
/// 25P02: the transaction has failed and only ROLLBACK is accepted.
pub const IN_FAILED_SQL_TRANSACTION: &str = "25P02";
/// 25P03: the server ended a session that sat idle inside a transaction.
pub const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: &str = "25P03";
/// 26000: a prepared statement of that name does not exist.
pub const INVALID_SQL_STATEMENT_NAME: &str = "26000";
/// 28000: this user may not connect in this way.
pub const INVALID_AUTHORIZATION_SPECIFICATION: &str = "28000";
/// 28P01: the password is wrong, or the user does not exist (never say which).
pub const INVALID_PASSWORD: &str = "28P01";
/// 34000: a portal of that name does not exist.
pub const INVALID_CURSOR_NAME: &str = "34000";
/// 3D000: the database does not exist.
pub const INVALID_CATALOG_NAME: &str = "3D000";
/// 40001: a serializable transaction has to be repeated.
pub const SERIALIZATION_FAILURE: &str = "40001";
/// 40P01: a transaction was chosen as the victim of a deadlock.
pub const DEADLOCK_DETECTED: &str = "40P01";
/// 42501: the role lacks a privilege.
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// 42601: a syntax error.
pub const SYNTAX_ERROR: &str = "42601";
/// 42704: an object or a setting of that name does not exist.
pub const UNDEFINED_OBJECT: &str = "42704";
/// 42P03: a portal of that name exists already.
pub const DUPLICATE_CURSOR: &str = "42P03";
/// 42P05: a prepared statement of that name exists already.
pub const DUPLICATE_PREPARED_STATEMENT: &str = "42P05";
/// 53000: out of some resource.
pub const INSUFFICIENT_RESOURCES: &str = "53000";
/// 53200: out of memory.
pub const OUT_OF_MEMORY: &str = "53200";
/// 53300: too many connections.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// 53400: a configured limit was reached.
pub const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
/// 54000: a program limit was reached, such as the size of a message.
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
/// 55000: the object is not in the state the request needs.
pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// 55P03: a lock could not be taken in time.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";
/// 57000: an operator stepped in.
pub const OPERATOR_INTERVENTION: &str = "57000";
/// 57014: the query was cancelled, by request or by a time limit.
pub const QUERY_CANCELED: &str = "57014";
/// 57P01: an administrator or a shutdown ends the connection.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// 57P02: another server process crashed and this one ends with it.
pub const CRASH_SHUTDOWN: &str = "57P02";
/// 57P03: the server is starting, stopping or recovering; try again later.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// 57P04: the database was dropped.
pub const DATABASE_DROPPED: &str = "57P04";
/// 57P05: the server ended a session that sat idle.
pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
/// 58000: an error outside PostgreSQL, such as the operating system's.
pub const SYSTEM_ERROR: &str = "58000";
/// XX000: an internal error.
pub const INTERNAL_ERROR: &str = "XX000";
