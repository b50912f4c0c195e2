//! What a session has seen, as a text that a client can carry to another connection, or another proxy:
//! `7431234567890123456:1:16/B374D848`, which is system identifier, timeline and position.

use std::fmt;
use std::str::FromStr;

use crate::nodes::Lsn;
use crate::stamps::{read_lsn, History};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) history: History,
    pub(crate) position: Lsn,
}

/// A text that is no token.
#[derive(Debug)]
pub(crate) struct Malformed;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History { system, timeline } = self.history;
        let (high, low) = (self.position >> 32, self.position & u64::from(u32::MAX));
        write!(f, "{system}:{timeline}:{high:X}/{low:X}")
    }
}

impl FromStr for Token {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Token, Malformed> {
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or(Malformed);
        let (system, timeline, position) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(Malformed);
        }
        Ok(Token {
            history: History {
                system: number(system)?,
                timeline: u32::try_from(number(timeline)?).map_err(|_| Malformed)?,
            },
            position: read_lsn(position.as_bytes()).ok_or(Malformed)?,
        })
    }
}

/// Of digits alone.
fn number(text: &str) -> Result<u64, Malformed> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_digits);
    number.ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_written() {
        let text = "7431234567890123456:12:16/B374D848";
        let token: Token = text.parse().expect("a token");
        assert_eq!(token.history.system, 7_431_234_567_890_123_456);
        assert_eq!(
            (token.history.timeline, token.position),
            (12, 0x16_B374_D848)
        );
        assert_eq!(token.to_string(), text);
    }

    #[test]
    fn nothing_else_is_a_token() {
        for text in [
            "",
            "1",
            "1:2",
            "1:2:",
            "1:2:0/",
            "1:2:0/g",
            "1:2:0/0:3",
            "1:2:+1/0",
            "-1:2:0/0",
            "+1:2:0/0",
            "1:4294967296:0/0",
            "18446744073709551616:1:0/0",
            "1:2:0/123456789",
            " 1:2:0/0",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
