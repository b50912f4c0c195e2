//! What must be awaited or decided before a session goes on moving bytes.

use crate::error::Refusal;
use crate::plans::Wanted;

/// Why `serve` stops polling.
#[derive(Debug)]
pub(super) enum Step {
    /// A request needs a server.
    NeedServer,
    /// A statement needs its plan.
    NeedPlan(Wanted),
    /// A statement of ours needs a sample of the primary.
    NeedStamp,
    /// The client left or asked to.
    Left,
    /// The client is told this, if it can be, and disconnected.
    Fatal(Refusal),
    /// It has been told the server's last words, and is disconnected.
    Told,
    /// A standby is lost, and the request is for another node now; or others must be told of writes first.
    Again,
    /// A server must say what has become of a commit.
    NeedOutcome,
    /// What the session had on its server must be made again on another one, where its transaction may have to be run.
    NeedRebuild { replays: bool },
}
