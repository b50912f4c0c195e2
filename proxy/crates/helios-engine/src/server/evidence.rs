//! What a command tag, in PostgreSQL's own words, says about the command: whether it read or wrote, and what it may
//! have left in the session. Statements' texts are not looked at here; that is the planner's.

use super::Dirt;

/// What is known of a command after it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Rows were read.
    Read,
    /// Something was written, or the command controls transactions.
    Write,
    /// Something may be left in the session.
    Leaves(Dirt),
    /// All prepared statements of the session are gone.
    Deallocated,
    /// The session is as after its login.
    Discarded,
}

const STATE: Effect = Effect::Leaves(Dirt {
    state: true,
    prepared: false,
});
const PREPARED: Effect = Effect::Leaves(Dirt {
    state: false,
    prepared: true,
});

/// Reads the tag of a CommandComplete, without its terminator.
pub(crate) fn effect(tag: &[u8]) -> Effect {
    match tag {
        b"SET" | b"RESET" | b"LISTEN" | b"LOAD" | b"DO" | b"CALL" => STATE,
        b"DECLARE CURSOR" | b"SET CONSTRAINTS" => STATE,
        b"PREPARE" | b"DEALLOCATE" => PREPARED,
        b"DEALLOCATE ALL" => Effect::Deallocated,
        b"DISCARD ALL" => Effect::Discarded,
        // Temporary objects carry the same tags as lasting ones. Tables, sequences, views, functions…
        tag if tag.starts_with(b"CREATE ") => STATE,
        tag if starts_with_any(tag, &[b"SELECT", b"FETCH", b"SHOW", b"EXPLAIN", b"MOVE"]) => {
            Effect::Read
        }
        _ => Effect::Write,
    }
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
        assert_eq!(effect(b"SET"), STATE);
        assert_eq!(effect(b"CREATE TABLE"), STATE);
        assert_eq!(effect(b"PREPARE"), PREPARED);
        assert_eq!(effect(b"PREPARE TRANSACTION"), Effect::Write);
        assert_eq!(effect(b"DISCARD ALL"), Effect::Discarded);
    }
}
