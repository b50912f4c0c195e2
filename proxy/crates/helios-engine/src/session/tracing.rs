//! Spans of statements, for those whose text says that its caller traces them (`traceparent` in a comment, as
//! sqlcommenter writes it), and for a share of the others. A span lies in the FIFO with the request that it is of, and
//! becomes an event when that is answered; Python exports it. No literal and no comment of the text is in it.
//!
//! Called by the scans of both directions. Without `[tracing]` all this is one look at a flag for each request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use helios_sql::normalized;
use helios_wire::frame::HEADER_LEN;
use helios_wire::{frontend, sqlstate};
use memchr::memmem;
use serde_json::json;

use super::fifo::Expect;
use super::planning::until_zero;
use super::Session;
use crate::events::Event;
use crate::pool::PoolKey;
use crate::worker::Worker;

/// Longest text whose shape a span shows, and of the shape.
const MAX_TEXT: usize = 16 * 1024;
const MAX_SHAPE: usize = 4 * 1024;
const TRACEPARENT: &[u8] = b"traceparent='";

/// What a traced statement is.
#[derive(Debug, Clone)]
pub(super) struct Traced {
    parent: Option<Parent>,
    /// Its text without literals and comments.
    shape: Vec<u8>,
}

/// The caller's span, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    trace: String,
    span: String,
}

/// A portal of a statement that is traced.
#[derive(Debug)]
pub(super) struct Portal {
    name: Box<[u8]>,
    traced: Traced,
}

/// One run of a statement, under way.
#[derive(Debug)]
pub(crate) struct Span {
    traced: Traced,
    is_extended: bool,
    /// When it was asked for.
    since: SystemTime,
    /// On the process clock, when it was sent.
    began: u64,
    waited: u64,
    /// Of its last CommandComplete.
    tag: String,
    sqlstate: Option<String>,
}

/// What a text says of its caller's span: the comment at its end, or at its beginning.
fn parent(sql: &[u8]) -> Option<(Parent, bool)> {
    let sql = sql.trim_ascii_end();
    let sql = sql.strip_suffix(b";").unwrap_or(sql).trim_ascii();
    let last = sql.strip_suffix(b"*/").and_then(|rest| {
        let begin = memmem::rfind(rest, b"/*")?;
        read_comment(&rest[begin + 2..])
    });
    last.or_else(|| {
        let rest = sql.strip_prefix(b"/*")?;
        read_comment(&rest[..memmem::find(rest, b"*/")?])
    })
}

/// `00-trace-span-flags`, and whether the caller's own span is kept.
fn read_comment(comment: &[u8]) -> Option<(Parent, bool)> {
    let begin = memmem::find(comment, TRACEPARENT)? + TRACEPARENT.len();
    let value =
        std::str::from_utf8(comment.get(begin..)?.split(|&byte| byte == b'\'').next()?).ok()?;
    let mut parts = value.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_id = |id: &str, length| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        id.len() == length && id.bytes().all(is_digit) && id.bytes().any(|byte| byte != b'0')
    };
    let is_whole = version != "00" || parts.next().is_none();
    if version.len() != 2 || version == "ff" || !is_whole || !is_id(trace, 32) || !is_id(span, 16) {
        return None;
    }
    let flags = u8::from_str_radix(flags.get(..2)?, 16).ok()?;
    let parent = Parent {
        trace: trace.to_owned(),
        span: span.to_owned(),
    };
    Some((parent, flags & 1 != 0))
}

impl Session {
    /// Whether a statement is to have a span, and of whom. An absent text is one that nobody kept.
    fn sample(&self, sql: Option<&[u8]>) -> Option<Option<Parent>> {
        match sql.and_then(parent) {
            Some((parent, is_sampled)) => is_sampled.then_some(Some(parent)),
            None => self.worker.samples().then_some(None),
        }
    }

    fn shape(&mut self, sql: &[u8]) -> Vec<u8> {
        let mut shape = Vec::new();
        if sql.len() <= MAX_TEXT {
            let syntax = self.syntax();
            normalized(sql, syntax, &mut shape);
            shape.truncate(MAX_SHAPE);
        }
        shape
    }

    fn span(&mut self, traced: Traced, is_extended: bool) -> Box<Span> {
        let waited = std::mem::take(&mut self.waited);
        Box::new(Span {
            traced,
            is_extended,
            since: SystemTime::now() - Duration::from_nanos(waited),
            began: self.worker.now(),
            waited,
            tag: String::new(),
            sqlstate: None,
        })
    }

    /// The span of a simple query.
    #[inline]
    pub(super) fn trace_query(&mut self, sql: &[u8]) -> Option<Box<Span>> {
        if !self.worker.is_tracing() {
            return None;
        }
        let parent = self.sample(Some(sql))?;
        let shape = self.shape(sql);
        Some(self.span(Traced { parent, shape }, false))
    }

    /// Decides whether what a portal runs has spans.
    #[inline]
    pub(super) fn trace_bind(&mut self, portal: &[u8], statement: &[u8]) {
        if self.worker.is_tracing() {
            self.trace_portal(portal, statement);
        }
    }

    fn trace_portal(&mut self, portal: &[u8], statement: &[u8]) {
        let rest = match statement {
            b"" => Some(&self.unnamed.rest[..]),
            name => self
                .statements
                .get(name)
                .and_then(|named| named.statement.rest()),
        };
        let sql = rest.map(until_zero);
        let sampled = self.sample(sql);
        let sampled = sampled.map(|parent| (parent, sql.unwrap_or_default().to_vec()));
        self.traced = sampled.map(|(parent, sql)| {
            let shape = self.shape(&sql);
            Box::new(Portal {
                name: portal.into(),
                traced: Traced { parent, shape },
            })
        });
    }

    /// The span of an Execute, which must be whole.
    #[inline]
    pub(super) fn trace_execute(&mut self, message: &[u8]) -> Option<Box<Span>> {
        let bound = self.traced.as_ref()?;
        let (portal, _) = frontend::read_execute(&message[HEADER_LEN..])?;
        if *portal != *bound.name {
            return None;
        }
        let traced = bound.traced.clone();
        Some(self.span(traced, true))
    }

    /// The command tag of what is answered now.
    #[inline]
    pub(super) fn trace_tag(&mut self, tag: &[u8]) {
        if let Some(span) = self.fifo.front_mut().and_then(Expect::span_mut) {
            span.tag = String::from_utf8_lossy(tag).into_owned();
        }
    }

    /// The request at the head of the FIFO, or the batch that it belongs to, has failed.
    pub(super) fn trace_error(&mut self, sqlstate: Option<&str>) {
        let batch = self
            .fifo
            .iter_mut()
            .take_while(|expect| !matches!(expect, Expect::Sync));
        let mut failed = batch.filter_map(|expect| {
            let is_extended = expect.is_extended();
            expect.span_mut()?.sqlstate = sqlstate.map(str::to_owned);
            // A simple query ends with its ReadyForQuery.
            is_extended.then(|| expect.take_span()).flatten()
        });
        if let (Some(span), Some(link)) = (failed.next(), &self.link) {
            self.worker.tell_span(&link.shard.shared.key, &span);
        }
    }

    /// A standby's answer that the client does not get: the request is run again.
    pub(super) fn untrace(&mut self) {
        self.fifo.iter_mut().for_each(|expect| {
            expect.take_span();
        });
    }

    /// The server is lost, and with it all that was under way.
    pub(super) fn trace_loss(&mut self, key: &PoolKey) {
        for mut span in self.fifo.iter_mut().filter_map(Expect::take_span) {
            span.sqlstate = Some(sqlstate::CONNECTION_FAILURE.to_owned());
            self.worker.tell_span(key, &span);
        }
    }

    /// A request has been answered.
    #[inline]
    pub(super) fn trace_end(&self, answered: Option<Expect>) {
        let span = answered.and_then(|mut expect| expect.take_span());
        if let (Some(span), Some(link)) = (span, &self.link) {
            self.worker.tell_span(&link.shard.shared.key, &span);
        }
    }
}

impl Worker {
    /// Whether any statement may have a span.
    #[inline]
    fn is_tracing(&self) -> bool {
        self.sampling.get().is_some()
    }

    /// Whether a statement is to have a span of which its caller says nothing.
    fn samples(&self) -> bool {
        let Some(ratio) = self.sampling.get().filter(|ratio| *ratio > 0.0) else {
            return false;
        };
        // Evenly spread and without a question to the system: each adds its share, and who fills the measure is taken.
        let share = self.share.get() + ratio;
        self.share.set(share.fract());
        share >= 1.0
    }

    fn tell_span(&self, key: &PoolKey, span: &Span) {
        let took = self.now().saturating_sub(span.began) + span.waited;
        let since = span
            .since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos() as u64;
        let parent = span.traced.parent.as_ref();
        let document = json!({
            "trace": parent.map(|parent| &parent.trace),
            "parent": parent.map(|parent| &parent.span),
            "start_ns": since,
            "end_ns": since + took,
            "waited_ns": span.waited,
            "text": String::from_utf8_lossy(&span.traced.shape),
            "tag": span.tag,
            "sqlstate": span.sqlstate,
            "extended": span.is_extended,
            "database": key.database,
            "node": key.node,
            "host": key.host,
            "port": key.port,
        });
        self.shared.spans.send(Event::Span(document));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(sql: &str) -> Option<bool> {
        let (parent, is_sampled) = parent(sql.as_bytes())?;
        assert_eq!((parent.trace.as_str(), parent.span.as_str()), (TRACE, SPAN));
        Some(is_sampled)
    }

    #[test]
    fn the_callers_span_is_read_from_the_comment_around_a_text() {
        for (flags, is_sampled) in [("01", true), ("00", false), ("03", true)] {
            let comment = format!("/*action='x',traceparent='00-{TRACE}-{SPAN}-{flags}',z='%2a'*/");
            for sql in [
                format!("select 1 {comment}"),
                format!("select '/*' /* one */ {comment} ; "),
                format!("{comment} select 1"),
            ] {
                assert_eq!(read(&sql), Some(is_sampled), "{sql}");
            }
        }
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for value in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-x1"),
        ] {
            assert_eq!(
                parent(format!("select 1 /*traceparent='{value}'*/").as_bytes()),
                None,
                "{value}"
            );
        }
        assert_eq!(
            parent(format!("select '/*traceparent=''00-{TRACE}-{SPAN}-01''*/'").as_bytes()),
            None
        );
        assert_eq!(parent(b"*/"), None);
        assert_eq!(parent(b"/*"), None);
    }
}
