//! Plans: what the planner has decided about statements, by their shape. Python makes them, one for a shape, and pulls
//! the work; a session whose statement has none yet waits for it, for a bounded time. Bounded in number.

mod aim;
mod decided;
mod familiar;
mod handling;
mod holding;
mod kept;
mod rerun;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use helios_sql::{Key, Syntax};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::{AsOf, Catalog, Catalogs};
use crate::class::{self, Class};
use crate::heat::Table;
use crate::server::Doubts;

pub(crate) use aim::{Access, Aim, Block, Origin, Route, Verb};
use decided::Decided;
use familiar::Familiar;
pub(crate) use handling::{Act, Handling, Parameter};
pub(crate) use holding::Holding;
pub(crate) use kept::Kept;
use rerun::Rerun;

/// How long a statement waits for its plan before it is taken for one that may do anything.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// Plans in the younger half of a cache; as many again may be in the older one.
const GENERATION: usize = 20_000;
/// Statements that may wait for the planner; a flood beyond is not planned.
const MAX_ASKED: usize = 10_000;

/// Among what a plan depends on: the functions of the database.
const CATALOG: &str = "catalog";

/// The planner's decision about a statement.
#[derive(Debug)]
pub(crate) struct Plan {
    doubts: Doubts,
    /// Settings go back to what they were at the start.
    pub(crate) resets: bool,
    /// Something may go that the session holds.
    pub(crate) frees: bool,
    /// Settings with a dot in their names that it sets, in small letters.
    pub(crate) own_settings: Vec<String>,
    /// It makes functions, or makes others of them.
    pub(crate) defines: bool,
    /// It does something else than to control its session or transaction.
    acts_on_data: bool,
    /// It may name prepared statements.
    pub(crate) names: bool,
    /// Where it runs.
    pub(crate) aim: Aim,
    /// A standby has shown that it does not only read.
    is_disproved: AtomicBool,
    /// What it does with the transaction block, if it does nothing else.
    block: Option<Block>,
    /// What it uses, where that is counted.
    tables: Vec<Arc<Table>>,
    /// What it does with a parameter of ours.
    pub(crate) handling: Option<Handling>,
    /// What becomes of it in a transaction that is run again.
    rerun: Rerun,
    /// It leaves values that would be others if it were run again.
    pub(crate) mutable: bool,
    /// Numbers that it tells and that are not given twice.
    pub(crate) kept: Option<Arc<Kept>>,
    pub(crate) holding: Option<Box<Holding>>,
    /// What it depends on besides the text.
    by: Option<AsOf>,
    /// The hash of the class that it is for.
    class: u128,
}

impl Plan {
    /// Of a statement that nothing is known about. It holds for no class: whoever keeps it looks for the statement's own.
    pub(crate) fn unknown() -> Plan {
        Plan {
            doubts: Doubts::ANYTHING,
            resets: false,
            frees: false,
            own_settings: Vec::new(),
            defines: false,
            acts_on_data: true,
            names: true,
            aim: Aim::default(),
            is_disproved: AtomicBool::new(false),
            block: None,
            tables: Vec::new(),
            handling: None,
            rerun: Rerun::Never,
            mutable: false,
            kept: None,
            holding: None,
            by: None,
            class: class::NOBODYS,
        }
    }

    /// Whether it only commits: it does no work that could be cancelled.
    pub(crate) fn is_commit(&self) -> bool {
        self.block.is_some_and(|block| block.verb == Verb::Commit)
    }

    /// Whether it only reads, so that a standby may answer it.
    pub(crate) fn is_read(&self) -> bool {
        self.aim.route != Route::Primary
            && !self.is_disproved.load(Ordering::Relaxed)
            && !self.doubts().any()
    }

    /// It is about to run.
    pub(crate) fn count_use(&self) {
        self.tables.iter().for_each(|table| table.count());
    }

    /// Whether all that it uses is seldom used.
    pub(crate) fn is_cold(&self) -> bool {
        !self.tables.is_empty() && self.tables.iter().all(|table| table.is_cold())
    }

    /// Whether it may write. What only the primary can answer counts.
    pub(crate) fn may_write(&self) -> bool {
        self.acts_on_data && !self.is_read()
    }

    /// What it says of the transaction that it opens, if it does nothing else.
    pub(crate) fn opens(&self) -> Option<Access> {
        let opens = |block: &Block| matches!(block.verb, Verb::Begin | Verb::Start);
        Some(self.block().filter(opens)?.access)
    }

    /// What it does with the transaction block, if it does nothing else and nobody wants it elsewhere.
    pub(crate) fn block(&self) -> Option<Block> {
        let is_plain = self.aim.origin == Origin::Statement && self.aim.notices.is_empty();
        self.block.filter(|_| is_plain)
    }

    /// A standby has shown that it does not only read. True the first time.
    pub(crate) fn learn_write(&self) -> bool {
        !self.is_disproved.swap(true, Ordering::Relaxed)
    }

    /// What is not known of the server's session after it.
    pub(crate) fn doubts(&self) -> Doubts {
        match &self.by {
            Some(by) if by.is_unsettled() => Doubts::ANYTHING,
            _ => self.doubts,
        }
    }

    /// Whether it still holds, as far as is known.
    fn is_current(&self) -> bool {
        self.by.as_ref().is_none_or(AsOf::is_current)
    }

    /// The same for a statement that is for the database of this catalog.
    fn is_for(&self, catalog: &Catalog) -> bool {
        (self.by.as_ref()).is_none_or(|by| by.hash() == catalog.hash && by.is_current())
    }

    /// The same, for a client of this class.
    pub(crate) fn holds_for(&self, class: &Class) -> bool {
        self.class == class.hash && self.is_current()
    }
}

/// A decision as Python writes it.
#[derive(Debug, Deserialize)]
struct Decision {
    id: u64,
    /// Absent where the planner cannot say.
    plan: Option<Decided>,
}

/// A statement that waits for the planner.
#[derive(Debug, Serialize)]
struct Question {
    id: u64,
    text: String,
    cluster: String,
    database: String,
    /// What is to be known of its context.
    policy: Value,
    /// Grows when functions are defined through us: a catalog that was read for a lower one is too old.
    defined: u64,
}

/// A hash is its own hash.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

type ByHash<T> = HashMap<u128, T, BuildHasherDefault<Identity>>;

/// What is known under a hash.
#[derive(Debug, Clone)]
enum Entry {
    Plan(Arc<Plan>),
    /// The literals matter: the plan is under the hash of the whole text.
    ByText,
    /// The functions of the database matter: the plan is under this hash joined to the database's.
    ByCatalog,
}

impl Entry {
    fn is_current(&self) -> bool {
        match self {
            Entry::Plan(plan) => plan.is_current(),
            Entry::ByText | Entry::ByCatalog => true,
        }
    }
}

/// What was used lately: when the younger generation is full it becomes the older one, which is forgotten.
#[derive(Debug, Default)]
struct Recent {
    young: ByHash<Entry>,
    old: ByHash<Entry>,
}

impl Recent {
    /// An entry that holds.
    fn get(&mut self, hash: u128) -> Option<&Entry> {
        if let Some(entry) = self.old.remove(&hash) {
            self.insert(hash, entry);
        }
        self.young.get(&hash).filter(|entry| entry.is_current())
    }

    fn insert(&mut self, hash: u128, entry: Entry) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, entry);
    }

    /// How many of its entries are plans, not what leads to one.
    fn plans(&self) -> usize {
        let entries = self.young.values().chain(self.old.values());
        entries
            .filter(|entry| matches!(entry, Entry::Plan(_)))
            .count()
    }
}

/// What one worker has used lately, so that it needs no lock for it.
#[derive(Debug, Default)]
pub(crate) struct Own {
    familiar: Familiar,
    recent: Recent,
}

/// A question under way.
#[derive(Debug)]
struct Asked {
    wanted: Wanted,
    exact: u128,
    class: u128,
    by: AsOf,
    since: Instant,
    waiting: Vec<Waker>,
}

#[derive(Debug, Default)]
struct State {
    known: Recent,
    asked: HashMap<u64, Asked>,
    ids: ByHash<u64>,
    /// By user, so that a flood of one does not delay the others; the first is served next.
    queues: VecDeque<(String, VecDeque<Question>)>,
    next_id: u64,
    closed: bool,
}

/// A statement for which a plan is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: &'a [u8],
    pub(crate) syntax: Syntax,
    /// That of the database it is for.
    pub(crate) catalog: &'a Arc<Catalog>,
    /// That of the client.
    pub(crate) class: &'a Class,
}

/// Where a statement's plan was looked for in vain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Where it was not found.
    hash: u128,
    shape: u128,
    by_text: bool,
    by_catalog: bool,
}

impl Wanted {
    /// Whether it asks about more than `other` did, which was told that more matters.
    pub(crate) fn goes_beyond(self, other: Wanted) -> bool {
        (self.by_text && !other.by_text) || (self.by_catalog && !other.by_catalog)
    }
}

/// The plans of the process.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) catalogs: Catalogs,
    unknown: Arc<Plan>,
    pub(crate) key: Key,
    state: Mutex<State>,
    /// Tells the planner's thread that there is work.
    work: Condvar,
    made: AtomicU64,
    missed: AtomicU64,
}

impl Plans {
    pub(crate) fn new(random: &[u8; 16]) -> Plans {
        Plans {
            catalogs: Catalogs::default(),
            unknown: Arc::new(Plan::unknown()),
            key: Key::new(random),
            state: Mutex::default(),
            work: Condvar::new(),
            made: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan of a statement, if a worker's own cache or the common one has it.
    pub(crate) fn find(
        &self,
        own: &mut Own,
        statement: Statement<'_>,
    ) -> Result<Arc<Plan>, Wanted> {
        if let Some(plan) = own.familiar.get(statement) {
            return Ok(Arc::clone(plan));
        }
        let Statement {
            sql,
            syntax,
            catalog,
            class,
        } = statement;
        let shape = helios_sql::shape(sql, syntax, &self.key).hash ^ class.hash;
        let mut wanted = Wanted {
            hash: shape,
            shape,
            by_text: false,
            by_catalog: false,
        };
        loop {
            match self.look_up(&mut own.recent, wanted.hash).ok_or(wanted)? {
                Entry::Plan(plan) => {
                    if !wanted.by_text {
                        own.familiar.learn(statement, &plan);
                    }
                    return Ok(plan);
                }
                Entry::ByText if !wanted.by_text => {
                    wanted.hash = helios_sql::exact(sql, syntax, &self.key) ^ class.hash;
                    wanted.by_text = true;
                }
                Entry::ByCatalog if !wanted.by_catalog => {
                    wanted.hash ^= catalog.hash;
                    wanted.by_catalog = true;
                }
                Entry::ByText | Entry::ByCatalog => return Err(wanted),
            }
        }
    }

    fn look_up(&self, own: &mut Recent, hash: u128) -> Option<Entry> {
        if let Some(entry) = own.get(hash) {
            return Some(entry.clone());
        }
        let entry = self.state().known.get(hash)?.clone();
        own.insert(hash, entry.clone());
        Some(entry)
    }

    /// Ready when the planner has answered or will not in time; until then it has been asked once, for all who wait.
    pub(crate) fn poll(
        &self,
        wanted: Wanted,
        user: &str,
        statement: Statement<'_>,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let Statement {
            sql,
            syntax,
            catalog,
            class,
        } = statement;
        let hash = wanted.hash;
        let mut state = self.state();
        if state.closed || state.known.get(hash).is_some() {
            return Poll::Ready(());
        }
        if let Some(asked) = state
            .ids
            .get(&hash)
            .copied()
            .and_then(|id| state.asked.get_mut(&id))
        {
            if asked.since.elapsed() >= PATIENCE {
                return Poll::Ready(());
            }
            asked.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        if state.asked.len() >= MAX_ASKED {
            return Poll::Ready(());
        }
        state.next_id += 1;
        let id = state.next_id;
        // Before the question says what it must know: what is defined in between outdates the answer.
        let by = AsOf::now(catalog);
        let question = Question {
            id,
            text: String::from_utf8_lossy(sql).into_owned(),
            cluster: catalog.cluster.clone(),
            database: catalog.database.clone(),
            policy: class.told(sql, syntax),
            defined: catalog.defined(),
        };
        state.enqueue(user, question);
        state.ids.insert(hash, id);
        let asked = Asked {
            wanted,
            exact: helios_sql::exact(sql, syntax, &self.key) ^ class.hash,
            class: class.hash,
            by,
            since: Instant::now(),
            waiting: vec![cx.waker().clone()],
        };
        state.asked.insert(id, asked);
        drop(state);
        self.work.notify_one();
        Poll::Pending
    }

    /// The plan of a statement whose own was not had in time; counted.
    pub(crate) fn missed(&self) -> Arc<Plan> {
        self.missed.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.unknown)
    }

    /// Whether a plan is that of a statement whose own was not had in time.
    pub(crate) fn is_missed(&self, plan: &Arc<Plan>) -> bool {
        Arc::ptr_eq(plan, &self.unknown)
    }

    /// The next questions, one of each user that has any, waiting at most `limit`; `None` once the engine has ended.
    pub(crate) fn next(&self, limit: Duration) -> Option<Vec<u8>> {
        let state = self.state();
        let idle = |state: &mut State| state.queues.is_empty() && !state.closed;
        let (mut state, _) = self
            .work
            .wait_timeout_while(state, limit, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        let questions = state.take_turn();
        Some(serde_json::json!(questions).to_string().into_bytes())
    }

    /// Takes a decision, and wakes whoever waits for it.
    pub(crate) fn decide(&self, document: &[u8]) -> Result<(), String> {
        let decision: Decision = serde_json::from_slice(document).map_err(|err| err.to_string())?;
        let mut state = self.state();
        let Some(asked) = state.asked.remove(&decision.id) else {
            return Ok(());
        };
        state.ids.remove(&asked.wanted.hash);
        state.take_in(&asked, decision.plan);
        drop(state);
        self.made.fetch_add(1, Ordering::Relaxed);
        asked.waiting.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Nobody waits any more, and the planner is told that it is over.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let asked = std::mem::take(&mut state.asked);
        drop(state);
        self.work.notify_all();
        let waiting = asked.into_values().flat_map(|asked| asked.waiting);
        waiting.for_each(Waker::wake);
    }

    /// Plans kept, made so far, and statements that ran without one.
    pub(crate) fn counts(&self) -> (usize, u64, u64) {
        let kept = self.state().known.plans();
        (
            kept,
            self.made.load(Ordering::Relaxed),
            self.missed.load(Ordering::Relaxed),
        )
    }
}

impl State {
    fn enqueue(&mut self, user: &str, question: Question) {
        match self.queues.iter_mut().find(|(known, _)| known == user) {
            Some((_, queue)) => queue.push_back(question),
            None => self
                .queues
                .push_back((user.to_owned(), VecDeque::from([question]))),
        }
    }

    /// Keeps a decision in the place that it is for, and says so in those that lead there.
    fn take_in(&mut self, asked: &Asked, decided: Option<Decided>) {
        let reads = |what| {
            decided
                .as_ref()
                .is_some_and(|plan| plan.reads.iter().any(|read| read == what))
        };
        let mut hash = asked.wanted.shape;
        if asked.wanted.by_text || decided.as_ref().is_some_and(|plan| plan.exact) {
            self.known.insert(hash, Entry::ByText);
            hash = asked.exact;
        }
        let mut by = None;
        if asked.wanted.by_catalog || reads(CATALOG) {
            self.known.insert(hash, Entry::ByCatalog);
            hash ^= asked.by.hash();
            by = Some(asked.by.clone());
        }
        let mut plan = decided.map_or_else(Plan::unknown, |decided| decided.into_plan(by));
        plan.class = asked.class;
        self.known.insert(hash, Entry::Plan(Arc::new(plan)));
    }

    fn take_turn(&mut self) -> Vec<Question> {
        let turn = self
            .queues
            .iter_mut()
            .filter_map(|(_, queue)| queue.pop_front());
        let questions = turn.collect();
        self.queues.retain(|(_, queue)| !queue.is_empty());
        questions
    }
}

#[cfg(test)]
mod tests;
