//! Plans: what the planner has decided about statements, by their shape. Python makes them, one for a shape, and pulls
//! the work; a session whose statement has none yet waits for it, for a bounded time. Bounded in number.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use helios_sql::{Key, Shape, Syntax};
use serde::{Deserialize, Serialize};

use crate::server::Doubts;

/// How long a statement waits for its plan before it is taken for one that may do anything.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// Plans in the younger half of a cache; as many again may be in the older one.
const GENERATION: usize = 20_000;
/// Statements that may wait for the planner; a flood beyond is not planned.
const MAX_ASKED: usize = 10_000;

/// Among a plan's settings: one whose name is not known.
const ANY_SETTING: &str = "*";

/// What a statement may leave in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Effect {
    Settings,
    Reset,
    Temp,
    Cursor,
    Listen,
    Prepare,
    Deallocate,
    Discard,
    Advisory,
    Release,
    Load,
    Unknown,
}

/// The planner's decision about a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What is not known of the server's session after it.
    pub(crate) doubts: Doubts,
    /// Settings go back to what they were at the start.
    pub(crate) resets: bool,
    /// Something may go that the session holds.
    pub(crate) frees: bool,
    /// Settings with a dot in their names that it sets, in small letters.
    pub(crate) own_settings: Vec<String>,
    /// Its literals matter: it is for one text only.
    exact: bool,
}

impl Plan {
    /// Of a statement that nothing is known about.
    pub(crate) fn unknown() -> Plan {
        Plan {
            doubts: Doubts::ANYTHING,
            resets: false,
            frees: false,
            own_settings: Vec::new(),
            exact: false,
        }
    }
}

/// A decision as Python writes it.
#[derive(Debug, Deserialize)]
struct Decision {
    id: u64,
    /// Absent where the planner cannot say.
    plan: Option<Decided>,
}

#[derive(Debug, Deserialize)]
struct Decided {
    effects: Vec<Effect>,
    settings: Vec<String>,
    exact: bool,
}

impl From<Decided> for Plan {
    fn from(decided: Decided) -> Plan {
        let mut doubts = Doubts::NONE;
        for effect in &decided.effects {
            doubts.add(match effect {
                Effect::Settings => Doubts::SETTINGS,
                Effect::Load => Doubts::LIBRARY,
                Effect::Unknown => Doubts::ANYTHING,
                Effect::Temp
                | Effect::Cursor
                | Effect::Listen
                | Effect::Prepare
                | Effect::Advisory => Doubts::HOLDS,
                Effect::Reset | Effect::Deallocate | Effect::Discard | Effect::Release => {
                    Doubts::NONE
                }
            });
        }
        // The planner does not know the name that set_config() is given.
        doubts.unseen |= decided.settings.iter().any(|name| name == ANY_SETTING);
        let mut own_settings = decided.settings;
        own_settings.retain(|name| name.contains('.'));
        let has = |effect| decided.effects.contains(&effect);
        Plan {
            doubts,
            resets: has(Effect::Reset),
            frees: has(Effect::Deallocate) || has(Effect::Discard) || has(Effect::Release),
            own_settings,
            exact: decided.exact,
        }
    }
}

/// A statement that waits for the planner.
#[derive(Debug, Serialize)]
struct Question {
    id: u64,
    text: String,
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

/// What was used lately: when the younger generation is full it becomes the older one, which is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    young: ByHash<Arc<Plan>>,
    old: ByHash<Arc<Plan>>,
}

impl Recent {
    fn get(&mut self, hash: u128) -> Option<&Arc<Plan>> {
        if let Some(plan) = self.old.remove(&hash) {
            self.insert(hash, plan);
        }
        self.young.get(&hash)
    }

    fn insert(&mut self, hash: u128, plan: Arc<Plan>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, plan);
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A question under way.
#[derive(Debug)]
struct Asked {
    /// By shape, or by the whole text.
    hash: u128,
    exact: u128,
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

/// Where a statement's plan is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    shape: u128,
    exact: Option<u128>,
}

impl Wanted {
    /// Whether it asks about the text, where `other` asked about the shape and was told that the text matters.
    pub(crate) fn goes_beyond(self, other: Wanted) -> bool {
        self.exact.is_some() && other.exact.is_none()
    }
}

/// The plans of the process.
#[derive(Debug)]
pub(crate) struct Plans {
    unknown: Arc<Plan>,
    key: Key,
    state: Mutex<State>,
    /// Tells the planner's thread that there is work.
    work: Condvar,
    made: AtomicU64,
    missed: AtomicU64,
}

impl Plans {
    pub(crate) fn new(random: &[u8; 16]) -> Plans {
        Plans {
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

    pub(crate) fn shape(&self, sql: &[u8], syntax: Syntax) -> Shape {
        helios_sql::shape(sql, syntax, &self.key)
    }

    /// The plan of a statement, if a worker's own cache or the common one has it.
    pub(crate) fn find(
        &self,
        own: &mut Recent,
        sql: &[u8],
        syntax: Syntax,
    ) -> Result<Arc<Plan>, Wanted> {
        let shape = self.shape(sql, syntax);
        let mut wanted = Wanted {
            shape: shape.hash,
            exact: None,
        };
        let plan = self.look_up(own, wanted.shape).ok_or(wanted)?;
        if !plan.exact {
            return Ok(plan);
        }
        let exact = helios_sql::exact(sql, syntax, &self.key);
        wanted.exact = Some(exact);
        self.look_up(own, exact).ok_or(wanted)
    }

    fn look_up(&self, own: &mut Recent, hash: u128) -> Option<Arc<Plan>> {
        if let Some(plan) = own.get(hash) {
            return Some(Arc::clone(plan));
        }
        let plan = Arc::clone(self.state().known.get(hash)?);
        own.insert(hash, Arc::clone(&plan));
        Some(plan)
    }

    /// Ready when the planner has answered or will not in time; until then it has been asked once, for all who wait.
    pub(crate) fn poll(
        &self,
        wanted: Wanted,
        user: &str,
        sql: &[u8],
        syntax: Syntax,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let hash = wanted.exact.unwrap_or(wanted.shape);
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
        let text = String::from_utf8_lossy(sql).into_owned();
        state.enqueue(user, Question { id, text });
        state.ids.insert(hash, id);
        let exact = helios_sql::exact(sql, syntax, &self.key);
        let asked = Asked {
            hash,
            exact,
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
        state.ids.remove(&asked.hash);
        let plan = decision.plan.map_or_else(Plan::unknown, Plan::from);
        let plan = Arc::new(plan);
        if plan.exact {
            state.known.insert(asked.exact, Arc::clone(&plan));
        }
        // Under its shape an exact plan only says that the text has to be looked at.
        state.known.insert(asked.hash, plan);
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
        let kept = self.state().known.len();
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
