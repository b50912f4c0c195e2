//! The plan of a statement before it is sent. A statement whose shape nobody has planned yet waits here for the planner,
//! and goes on as one that may do anything if that takes too long.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use helios_sql::{Encoding, Syntax};
use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{self, Header, HEADER_LEN};
use helios_wire::frontend;
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::link::Wait;
use super::startup::Ended;
use super::{Route, Session};
use crate::catalog::Definition;
use crate::class::Class;
use crate::config::PoolMode;
use crate::plans::{Plan, Statement, Wanted, PATIENCE};
use crate::pool::{PoolShard, Profile};
use crate::rt;
use crate::server::Doubts;
use crate::settings::Bucket;

/// A longer simple query is passed on unread, and may have done anything.
const MAX_PLANNED: usize = 1024 * 1024;

/// While it is not known how a server reads texts: alike are only those of the same bytes.
const CAUTIOUS: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::TrailingAscii,
};

/// Whether a message carries a statement that is planned.
pub(super) fn is_statement(header: Header) -> bool {
    header.tag == b'P' || (header.tag == b'Q' && header.total <= MAX_PLANNED)
}

/// The text of a Query or Parse.
pub(super) fn text(message: &[u8]) -> &[u8] {
    let body = message.get(HEADER_LEN..).unwrap_or_default();
    let rest = match message.first() {
        Some(b'P') => frontend::read_parse(body).map_or(&[][..], |(_, rest)| rest),
        _ => body,
    };
    until_zero(rest)
}

pub(super) fn until_zero(bytes: &[u8]) -> &[u8] {
    memchr::memchr(0, bytes).map_or(bytes, |end| &bytes[..end])
}

/// A prepared statement: its plan, which may hold no longer, and its text, where it is known.
pub(super) struct Planned<'a> {
    pub(super) plan: Option<&'a Arc<Plan>>,
    pub(super) sql: Option<&'a [u8]>,
}

/// The class of a client, under these settings and this configuration.
#[derive(Debug)]
pub(super) struct ClassOf {
    revision: u64,
    bucket: Arc<Bucket>,
    class: Class,
}

impl ClassOf {
    /// Of a client that has no pool yet.
    pub(super) fn nothing(bucket: &Arc<Bucket>) -> ClassOf {
        ClassOf {
            revision: u64::MAX,
            bucket: Arc::clone(bucket),
            class: Class::default(),
        }
    }
}

impl Session {
    /// Whether statements are planned: in session mode the server is the client's own.
    pub(super) fn is_planned(&mut self) -> bool {
        if let Some(link) = &self.link {
            return link.mode != PoolMode::Session;
        }
        let found = self.route();
        let is_planned = |route: &Route| {
            let mode = route.shard.with_settings(|settings| settings.mode);
            mode != PoolMode::Session
        };
        // Whoever asks for a server will say why there is none.
        found.is_ok() && self.route.as_ref().is_some_and(is_planned)
    }

    /// Looks for the plan of a whole message.
    pub(super) fn find_plan(&mut self, message: &[u8]) -> Result<(), Wanted> {
        let plan = match self.repeated(message) {
            Some(plan) => plan,
            None => self.plan_of(text(message))?,
        };
        self.plan = Some(plan);
        Ok(())
    }

    /// The plan of the last unnamed statement, if it is parsed once more as drivers do for each execution: to compare
    /// the texts takes a tenth of the time of a lexer.
    fn repeated(&mut self, message: &[u8]) -> Option<Arc<Plan>> {
        let rest = message.get(HEADER_LEN..)?.strip_prefix(b"\0")?;
        if message[0] != b'P' || rest != self.unnamed.rest {
            return None;
        }
        let read_as = Some(self.syntax());
        self.settle_class();
        let plan = self.unnamed.plan.as_ref()?;
        (read_as == self.unnamed.syntax && self.holds(plan)).then(|| Arc::clone(plan))
    }

    /// Finds out of which class the client is now.
    pub(super) fn settle_class(&mut self) {
        let Some(route) = &self.route else { return };
        let known = &self.context;
        if known.revision == route.revision && Arc::ptr_eq(&known.bucket, &self.bucket) {
            return;
        }
        let name = self.bucket.get("application_name").unwrap_or_default();
        let key = &self.worker.shared.plans.key;
        let class = Class::of(&route.entry, name, key);
        self.context = ClassOf {
            revision: route.revision,
            bucket: Arc::clone(&self.bucket),
            class,
        };
    }

    /// Whether a plan is still the right one for this client.
    pub(super) fn holds(&self, plan: &Plan) -> bool {
        plan.holds_for(&self.context.class)
    }

    /// A text as plans are looked for; `None` before there is a pool to go to.
    fn statement<'a>(&'a self, sql: &'a [u8], syntax: Syntax) -> Option<Statement<'a>> {
        Some(Statement {
            sql,
            syntax,
            catalog: &self.target()?.shared.catalog,
            class: &self.context.class,
        })
    }

    pub(super) fn plan_of(&mut self, sql: &[u8]) -> Result<Arc<Plan>, Wanted> {
        let syntax = self.syntax();
        self.settle_class();
        let plans = &self.worker.shared.plans;
        let Some(statement) = self.statement(sql, syntax) else {
            return Ok(plans.missed());
        };
        plans.find(&mut self.worker.plans.borrow_mut(), statement)
    }

    /// The pool that statements go to now.
    fn target(&self) -> Option<&PoolShard> {
        let linked = self.link.as_ref().map(|link| &link.shard);
        let routed = self.route.as_ref().map(|route| &route.shard);
        linked.or(routed).map(Rc::as_ref)
    }

    /// The plan of a prepared statement, made anew if it holds no longer. Nothing waits for that: until it is there the
    /// statement may do anything.
    pub(super) fn current_plan(&mut self, name: &[u8]) -> Option<Arc<Plan>> {
        self.settle_class();
        let Planned { plan, sql } = self.prepared(name)?;
        let kept = plan?;
        if self.holds(kept) {
            return Some(Arc::clone(kept));
        }
        let Some(sql) = sql else {
            return Some(self.worker.shared.plans.missed());
        };
        let sql = sql.to_vec();
        match self.plan_of(&sql) {
            Ok(plan) => {
                if name.is_empty() {
                    self.unnamed.plan = Some(Arc::clone(&plan));
                } else {
                    self.statements.replan(name, &plan);
                }
                Some(plan)
            }
            Err(wanted) => {
                self.ask(wanted, &sql);
                Some(self.worker.shared.plans.missed())
            }
        }
    }

    /// What was planned for a name of the client.
    pub(super) fn prepared(&self, name: &[u8]) -> Option<Planned<'_>> {
        let (plan, rest) = if name.is_empty() {
            (&self.unnamed.plan, Some(&self.unnamed.rest[..]))
        } else {
            let named = self.statements.get(name)?;
            (&named.plan, named.statement.rest())
        };
        let (plan, sql) = (plan.as_ref(), rest.map(until_zero));
        Some(Planned { plan, sql })
    }

    /// Of the statement that a Bind names.
    pub(super) fn bound_plan(&mut self, message: &[u8]) -> Option<Arc<Plan>> {
        let head = frontend::read_bind_head(message.get(HEADER_LEN..)?)?;
        self.current_plan(head.statement)
    }

    /// Of what a message has run: the outer `None` where that is nothing, the inner one where nobody has planned it.
    #[allow(
        clippy::option_option,
        reason = "whether anything is run, and what is known of it"
    )]
    pub(super) fn plan_to_run(
        &mut self,
        header: Header,
        message: &[u8],
    ) -> Option<Option<Arc<Plan>>> {
        match header.tag {
            b'Q' => Some(self.plan.clone()),
            b'B' => {
                let head = frontend::read_bind_head(message.get(HEADER_LEN..)?)?;
                Some(self.current_plan(head.statement))
            }
            // By its number, of which the planner knows nothing.
            b'F' => Some(None),
            _ => None,
        }
    }

    /// Has the planner work on a statement that does not wait for it.
    pub(super) fn ask(&mut self, wanted: Wanted, sql: &[u8]) {
        let syntax = self.syntax();
        let Some(statement) = self.statement(sql, syntax) else {
            return;
        };
        let nobody = Context::from_waker(Waker::noop());
        let plans = &self.worker.shared.plans;
        let _ = plans.poll(wanted, &self.login().user, statement, &nobody);
    }

    /// How the server reads what this client sends.
    pub(super) fn syntax(&mut self) -> Syntax {
        match &self.syntax {
            Some((bucket, syntax)) if Arc::ptr_eq(bucket, &self.bucket) => *syntax,
            _ => {
                let read = self.read_syntax();
                // Before a server has told it may be another one, as for who logs in while there is no primary.
                self.syntax = read.map(|syntax| (Arc::clone(&self.bucket), syntax));
                read.unwrap_or(CAUTIOUS)
            }
        }
    }

    /// By what a server reports with these settings, or else reported when the session began; `None` until then.
    fn read_syntax(&self) -> Option<Syntax> {
        let of = |profile: &Profile, name: &str| {
            let value = profile.iter().find(|(known, _)| known == name);
            value.map(|(_, value)| value.clone())
        };
        let route = self.route.as_ref();
        let profile = route.and_then(|route| route.shard.shared.profile(&self.bucket));
        let reported = |name: &str| {
            let own = self.bucket.get(name);
            let greeting = self.greeting.as_ref();
            let greeted = greeting.filter(|_| own == self.startup.get(name));
            let told = profile.as_ref().or(greeted).and_then(|told| of(told, name));
            told.or_else(|| own.map(str::to_owned))
        };
        let conforming = reported("standard_conforming_strings")?;
        let encoding = reported("client_encoding")?;
        Some(Syntax {
            standard_conforming_strings: conforming == "on",
            encoding: Encoding::of(&encoding.to_ascii_uppercase()),
        })
    }

    /// Waits for the plan of the statement at the head of the client's buffer.
    pub(super) async fn await_plan(&mut self, wanted: Wanted) -> Result<(), Ended> {
        // A cancel that came while nothing ran has nothing to stop.
        self.handle.clear_cancel();
        let worker = Rc::clone(&self.worker);
        let plans = &worker.shared.plans;
        let syntax = self.syntax();
        let planned = poll_fn(|cx| {
            let sql = head(self.client.rbuf.bytes()).map(text);
            let Some(statement) = sql.and_then(|sql| self.statement(sql, syntax)) else {
                return Poll::Ready(Ok(()));
            };
            if plans
                .poll(wanted, &self.login().user, statement, cx)
                .is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            match self.poll_wait(None, cx) {
                Poll::Ready(Wait::Cancelled) if self.link.is_none() => {
                    Poll::Ready(Err(self.cancelled()))
                }
                Poll::Ready(Wait::Left) => Poll::Ready(Err(Ended::Quietly)),
                _ => Poll::Pending,
            }
        });
        if let Some(ended) = rt::timeout(PATIENCE, planned).await {
            ended?;
        }
        self.worker.clock();
        let message = head(self.client.rbuf.bytes()).unwrap_or_default().to_vec();
        if let Err(next) = self.find_plan(&message) {
            if next.goes_beyond(wanted) {
                return Ok(());
            }
            self.plan = Some(plans.missed());
        }
        Ok(())
    }

    /// Tells the client what its plan has to say, in its turn, unless it wants no notices.
    pub(super) fn tell_notices(&mut self, plan: Option<&Plan>) {
        let Some(plan) = plan.filter(|plan| !plan.aim.notices.is_empty()) else {
            return;
        };
        if !self.wants_notices() {
            return;
        }
        for text in &plan.aim.notices {
            let code = sqlstate::SUCCESSFUL_COMPLETION;
            let notice = error_response::notice(Severity::Notice, code, text, None, None);
            self.expect(Expect::FakeNotice(notice.into()));
        }
    }

    /// Whether the client has not turned notices off.
    pub(super) fn wants_notices(&self) -> bool {
        let least = self.bucket.get("client_min_messages");
        !least.is_some_and(|least| matches!(least, "warning" | "error" | "fatal" | "panic"))
    }

    /// Notes what a statement that is about to run may leave; `None` is one that was not planned.
    pub(super) fn act_on_plan(&mut self, plan: Option<&Arc<Plan>>) {
        self.weigh(plan.map(Arc::as_ref));
        self.commits = plan.is_some_and(|plan| plan.is_commit());
        let Some(plan) = plan else {
            return self.doubt(Doubts::ANYTHING);
        };
        plan.count_use();
        if let (true, Some(link)) = (plan.defines, &mut self.link) {
            let catalog = &link.shard.shared.catalog;
            link.definition
                .get_or_insert_with(|| Definition::begin(catalog));
        }
        let doubts = plan.doubts();
        if doubts.any() {
            self.own_settings.extend(plan.own_settings.iter().cloned());
            self.doubt(doubts);
        }
        if plan.resets {
            self.doubt_settings_if_any();
        }
        if plan.frees {
            self.hope();
        }
    }
}

/// The whole message at the head of a buffer.
pub(super) fn head(bytes: &[u8]) -> Option<&[u8]> {
    let header = frame::header(bytes).ok().flatten()?;
    bytes.get(..header.total)
}
