//! What a command tag, in PostgreSQL's own words, says about the command: whether it read or wrote, and what it has
//! done to the session. Statements' texts are the planner's; this is what the server itself says, also of a statement
//! that no plan was had for.

use super::Doubts;

/// What is known of a command after it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Rows were read.
    Read,
    /// Something was written, or the command controls transactions.
    Write,
    /// Something may be left in the session.
    Leaves(Doubts),
    /// Settings are what they were at the start.
    Resets,
    /// Something that was left in the session may be gone.
    Frees,
    /// A statement was prepared.
    Prepared,
    /// One prepared statement is gone.
    Forgotten,
    /// All prepared statements of the session are gone.
    Deallocated,
    /// The session is as after its login.
    Discarded,
}

/// Reads the tag of a CommandComplete, without its terminator.
pub(crate) fn effect(tag: &[u8]) -> Effect {
    match tag {
        b"SET" => Effect::Leaves(Doubts::SETTINGS),
        b"RESET" => Effect::Resets,
        b"LISTEN" => Effect::Leaves(Doubts::LISTENS),
        b"PREPARE" => Effect::Prepared,
        b"DEALLOCATE" => Effect::Forgotten,
        b"LOAD" => Effect::Leaves(Doubts::LIBRARY),
        b"UNLISTEN" | b"CLOSE CURSOR" | b"CLOSE CURSOR ALL" | b"DISCARD TEMP" => Effect::Frees,
        b"DEALLOCATE ALL" => Effect::Deallocated,
        b"DISCARD ALL" => Effect::Discarded,
        tag if tag.starts_with(b"DROP ") => Effect::Frees,
        tag if starts_with_any(tag, &[b"SELECT", b"FETCH", b"SHOW", b"EXPLAIN", b"MOVE"]) => {
            Effect::Read
        }
        _ => Effect::Write,
    }
}

/// Whether a command may have given other columns to a statement that is prepared already.
pub(crate) fn redefines(tag: &[u8]) -> bool {
    starts_with_any(tag, &[b"ALTER ", b"DROP ", b"CREATE VIEW"])
}

fn starts_with_any(tag: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| tag.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_left_behind() {
        assert_eq!(effect(b"SELECT 1"), Effect::Read);
        assert_eq!(effect(b"INSERT 0 1"), Effect::Write);
        assert_eq!(effect(b"SET"), Effect::Leaves(Doubts::SETTINGS));
        assert_eq!(effect(b"SET CONSTRAINTS"), Effect::Write);
        assert_eq!(effect(b"DROP TABLE"), Effect::Frees);
        assert_eq!(effect(b"PREPARE"), Effect::Prepared);
        assert!(redefines(b"ALTER TABLE") && !redefines(b"CREATE TABLE"));
        assert_eq!(effect(b"PREPARE TRANSACTION"), Effect::Write);
        assert_eq!(effect(b"DISCARD ALL"), Effect::Discarded);
    }
}
