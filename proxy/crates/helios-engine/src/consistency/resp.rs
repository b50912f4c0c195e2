//! What Redis is told and says: commands, their answers, and positions as it keeps them, which order like their texts.

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};

use super::{Answer, Order};
use crate::config::ConsistencyKeys;
use crate::stamps::History;
use crate::token::Token;

/// Bytes of an answer at most; INFO's are a few thousand.
pub(super) const MAX_ANSWER: usize = 256 * 1024;
/// Keeps the later of two positions, by timeline first. Those of two database systems say nothing of each other.
const KEEP: &str = "\
local old = redis.call('GET', KEYS[1])
if old and string.sub(old, 1, 20) == string.sub(ARGV[1], 1, 20) and old >= ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";
/// A process of Redis' that nobody has met before may have lost what an earlier one knew.
const MEET: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1";

/// A command as it is sent.
pub(super) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let parts = parts
        .iter()
        .map(|part| OwnedFrame::BulkString(part.to_vec()));
    let frame = OwnedFrame::Array(parts.collect());
    let mut out = vec![0; frame.encode_len(false)];
    encode(&mut out, &frame, false).expect("the buffer is as long as the command");
    out
}

/// Tells Redis which process of it has been met.
pub(super) fn meet(config: &ConsistencyKeys, run_id: &str) -> Vec<u8> {
    command(&[
        b"EVAL",
        MEET.as_bytes(),
        b"2",
        name(config, "epoch").as_bytes(),
        name(config, "doubt").as_bytes(),
        run_id.as_bytes(),
        config.ttl_ms.to_string().as_bytes(),
    ])
}

/// The command for an order.
pub(super) fn order(config: &ConsistencyKeys, order: &Order) -> Vec<u8> {
    let ttl = config.ttl_ms.to_string();
    match order {
        Order::Keep(key, token) => command(&[
            b"EVAL",
            KEEP.as_bytes(),
            b"1",
            name(config, key).as_bytes(),
            written(*token).as_bytes(),
            ttl.as_bytes(),
        ]),
        Order::Find(key) => command(&[
            b"MGET",
            name(config, "epoch").as_bytes(),
            name(config, "doubt").as_bytes(),
            name(config, key).as_bytes(),
        ]),
        Order::Doubt => command(&[
            b"SET",
            name(config, "doubt").as_bytes(),
            b"1",
            b"PX",
            ttl.as_bytes(),
        ]),
    }
}

fn name(config: &ConsistencyKeys, key: &str) -> String {
    format!("{}{key}", config.prefix)
}

/// The first answer in `bytes`, and its length; `None`: more of it must come.
///
/// # Errors
/// It is none, or Redis refuses what it was asked.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<(OwnedFrame, usize)>, String> {
    match decode(bytes) {
        Ok(Some((OwnedFrame::Error(text), _))) => Err(text),
        Ok(None) if bytes.len() > MAX_ANSWER => Err("an answer without end".to_owned()),
        Ok(found) => Ok(found),
        Err(err) => Err(format!("it does not speak Redis' protocol: {err}")),
    }
}

/// What an answer says to an order, where `run_id` is whom the connection is to.
///
/// # Errors
/// It does not know any more who it is, and what it was told.
pub(super) fn read(frame: &OwnedFrame, run_id: &str) -> Result<Answer, String> {
    let OwnedFrame::Array(parts) = frame else {
        return Ok(Answer::Done);
    };
    Ok(match &parts[..] {
        [epoch, ..] if text(epoch) != Some(run_id) => {
            return Err("it has forgotten what it was told".to_owned())
        }
        [_, OwnedFrame::Null, OwnedFrame::Null] => Answer::Found(None),
        [_, OwnedFrame::Null, value] => {
            let token = text(value).and_then(read_token);
            token.map_or(Answer::Doubtful, |token| Answer::Found(Some(token)))
        }
        _ => Answer::Doubtful,
    })
}

fn text(frame: &OwnedFrame) -> Option<&str> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            std::str::from_utf8(bytes).ok()
        }
        _ => None,
    }
}

/// Whom a connection is to.
///
/// # Errors
/// It may forget what it was told, or does not say what it is.
pub(super) fn run_id(info: &OwnedFrame) -> Result<String, String> {
    let lines = text(info).unwrap_or_default();
    let value = |name: &str| {
        let mut values = lines.lines().filter_map(|line| line.split_once(':'));
        values
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    };
    let policy = value("maxmemory_policy").unwrap_or("noeviction");
    if value("maxmemory").is_some_and(|most| most != "0") && policy != "noeviction" {
        return Err(format!(
            "its maxmemory-policy is {policy}, so that it may forget keys; set noeviction"
        ));
    }
    let told = value("run_id").filter(|id| !id.is_empty());
    told.map(str::to_owned)
        .ok_or_else(|| "it does not tell its run_id by INFO".to_owned())
}

fn written(token: Token) -> String {
    let History { system, timeline } = token.history;
    format!("{system:020}:{timeline:010}:{:020}", token.position)
}

fn read_token(text: &str) -> Option<Token> {
    let mut parts = text.split(':');
    let mut part = || parts.next()?.parse::<u64>().ok();
    let (system, timeline, position) = (part()?, part()?, part()?);
    Some(Token {
        history: History {
            system,
            timeline: u32::try_from(timeline).ok()?,
        },
        position,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(timeline: u32, position: u64) -> Token {
        Token {
            history: History {
                system: 7_431_234_567_890_123_456,
                timeline,
            },
            position,
        }
    }

    fn bulk(text: &str) -> OwnedFrame {
        OwnedFrame::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn positions_order_like_their_texts_by_timeline_first() {
        let ordered = [token(1, u64::MAX), token(2, 9), token(2, 10), token(10, 1)];
        for pair in ordered.windows(2) {
            assert!(written(pair[0]) < written(pair[1]));
        }
        assert_eq!(
            read_token(&written(token(2, u64::MAX))),
            Some(token(2, u64::MAX))
        );
        assert_eq!(read_token("1:2"), None);
    }

    #[test]
    fn what_was_kept_counts_only_while_redis_knows_everything() {
        let kept = || bulk(&written(token(1, 5)));
        let read = |parts: [OwnedFrame; 3]| read(&OwnedFrame::Array(parts.to_vec()), "me");
        let (null, me) = (|| OwnedFrame::Null, || bulk("me"));
        assert_eq!(
            read([me(), null(), kept()]),
            Ok(Answer::Found(Some(token(1, 5))))
        );
        assert_eq!(read([me(), null(), null()]), Ok(Answer::Found(None)));
        for doubtful in [[me(), bulk("1"), kept()], [me(), null(), bulk("nonsense")]] {
            assert_eq!(read(doubtful), Ok(Answer::Doubtful));
        }
        for forgotten in [[null(), null(), kept()], [bulk("another"), null(), null()]] {
            assert!(read(forgotten).is_err());
        }
    }

    #[test]
    fn one_that_may_forget_keys_is_refused() {
        let info = |policy: &str, most: &str| {
            bulk(&format!(
                "# Server\r\nrun_id:abc\r\nmaxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n"
            ))
        };
        assert_eq!(run_id(&info("allkeys-lru", "0")).as_deref(), Ok("abc"));
        assert_eq!(run_id(&info("noeviction", "100")).as_deref(), Ok("abc"));
        assert!(run_id(&info("volatile-lru", "100")).is_err());
        assert!(run_id(&bulk("")).is_err());
    }
}
