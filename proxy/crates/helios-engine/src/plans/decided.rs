//! A decision as Python writes it, and the plan it makes.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use serde::Deserialize;

use super::{Aim, Block, Handling, Holding, Kept, Plan, Rerun};
use crate::catalog::AsOf;
use crate::server::Doubts;

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
    Execute,
    Deallocate,
    Discard,
    Advisory,
    Release,
    Load,
    Unknown,
}

/// What a text does by its form, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Session,
    Txn,
    #[serde(other)]
    Other,
}

/// What has been decided about a text.
#[derive(Debug, Deserialize)]
pub(super) struct Decided {
    kind: Kind,
    effects: Vec<Effect>,
    settings: Vec<String>,
    pub(super) exact: bool,
    pub(super) reads: Vec<String>,
    defines: bool,
    block: Option<Block>,
    handling: Option<Handling>,
    rerun: Rerun,
    mutable: bool,
    kept: Option<Kept>,
    holding: Option<Box<Holding>>,
    routing: Aim,
    tables: Vec<String>,
}

impl Decided {
    /// The plan, for a question that was asked as of `by`.
    pub(super) fn into_plan(self, by: Option<AsOf>) -> Plan {
        let decided = self;
        let mut doubts = Doubts::NONE;
        for effect in &decided.effects {
            doubts.add(match effect {
                Effect::Settings => Doubts::SETTINGS,
                Effect::Load => Doubts::LIBRARY,
                Effect::Unknown => Doubts::ANYTHING,
                Effect::Listen => Doubts::LISTENS,
                Effect::Temp | Effect::Cursor | Effect::Advisory => Doubts::HOLDS,
                // Prepared statements follow the client, and what one leaves is said by its own plan.
                Effect::Prepare | Effect::Execute => Doubts::NONE,
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
        let namers = [
            Effect::Prepare,
            Effect::Execute,
            Effect::Deallocate,
            Effect::Discard,
        ];
        let tables = by.as_ref().map(|by| by.tables(&decided.tables));
        Plan {
            doubts,
            resets: has(Effect::Reset),
            frees: has(Effect::Deallocate) || has(Effect::Discard) || has(Effect::Release),
            own_settings,
            defines: decided.defines,
            acts_on_data: decided.kind == Kind::Other,
            names: namers.into_iter().any(has),
            aim: decided.routing,
            is_disproved: AtomicBool::new(false),
            block: decided.block,
            tables: tables.unwrap_or_default(),
            handling: decided.handling,
            rerun: decided.rerun,
            mutable: decided.mutable,
            kept: decided.kept.map(Arc::new),
            holding: decided.holding,
            by,
            class: 0,
        }
    }
}
