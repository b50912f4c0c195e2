//! How often tables are used: plans count, and once a second what was counted fades a little. A plan looks at its tables
//! each time, so that no plan depends on how warm they were when it was made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{json, Value};

use crate::catalog::Catalog;
use crate::config::Temperature;
use crate::worker::Shared;

/// Tables of a database that are counted; what uses others is never cold.
const MAX_TABLES: usize = 1_000;
/// How much more a cold table must be used to be warm, which is also what a new one begins with.
const WARMER: f64 = 2.0;

/// One table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Since it was last looked at.
    uses: AtomicU64,
    total: AtomicU64,
    /// Uses a minute, as bits of a float; fades.
    rate: AtomicU64,
    is_cold: AtomicBool,
}

impl Table {
    #[inline]
    pub(crate) fn count(&self) {
        self.uses.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        self.is_cold.load(Ordering::Relaxed)
    }

    fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }

    /// A second is over. What is left of the rate and what was counted make the new one.
    fn tick(&self, rules: Temperature) {
        let left = 0.5_f64.powf(1000.0 / rules.half_life_ms as f64);
        let uses = self.uses.swap(0, Ordering::Relaxed);
        self.total.fetch_add(uses, Ordering::Relaxed);
        let rate = self.rate() * left + uses as f64 * 60.0 * (1.0 - left);
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
        let below = f64::from(rules.cold_below_per_minute);
        let limit = if self.is_cold() {
            below * WARMER
        } else {
            below
        };
        self.is_cold.store(rate < limit, Ordering::Relaxed);
    }
}

/// Those of one database.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<HashMap<String, Arc<Table>>>);

impl Tables {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Table>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counter of a table, if there is room for one.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<Table>> {
        let mut tables = self.all();
        if let Some(found) = tables.get(name) {
            return Some(Arc::clone(found));
        }
        if tables.len() >= MAX_TABLES {
            return None;
        }
        let made = Arc::<Table>::default();
        // As warm as can be asked for, until more is known.
        made.rate.store(f64::MAX.to_bits(), Ordering::Relaxed);
        tables.insert(name.to_owned(), Arc::clone(&made));
        Some(made)
    }

    /// A second is over. Forgets what no plan uses any more and is cold anyway.
    pub(crate) fn tick(&self, rules: Temperature) {
        let most = f64::from(rules.cold_below_per_minute) * WARMER;
        self.all().retain(|_, table| {
            if table.rate() == f64::MAX {
                table.rate.store(most.to_bits(), Ordering::Relaxed);
            }
            table.tick(rules);
            Arc::strong_count(table) > 1 || !table.is_cold()
        });
    }

    /// Their rows: name, uses a minute, all uses, and whether it is cold.
    pub(crate) fn rows(&self) -> Vec<Value> {
        let row = |(name, table): (&String, &Arc<Table>)| {
            json!({
                "table": name,
                "uses_per_minute": if table.rate() == f64::MAX { 0.0 } else { table.rate() },
                "uses_total": table.total.load(Ordering::Relaxed),
                "is_cold": table.is_cold(),
            })
        };
        self.all().iter().map(row).collect()
    }
}

impl Shared {
    /// Called every second.
    pub(crate) fn tick_tables(&self) {
        let Some(rules) = self.active.load().snapshot.temperature else {
            return;
        };
        for catalog in self.plans.catalogs.all() {
            catalog.tables.tick(rules);
        }
    }

    /// How often the tables of each database are used, where that is counted.
    pub(crate) fn heat(&self) -> Vec<Value> {
        let of = |catalog: Arc<Catalog>| {
            let (cluster, database) = (&catalog.cluster, &catalog.database);
            json!({"cluster": cluster, "database": database, "tables": catalog.tables.rows()})
        };
        let is_counted = self.active.load().snapshot.temperature.is_some();
        let catalogs = self.plans.catalogs.all().into_iter();
        catalogs.filter(|_| is_counted).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Temperature = Temperature {
        cold_below_per_minute: 6,
        half_life_ms: 60_000,
    };

    #[test]
    fn a_table_cools_in_its_time_and_is_warm_again_only_when_it_is_used_more() {
        let tables = Tables::default();
        let table = tables.of("orders").unwrap();
        let run = |seconds: u32, every: u32| {
            for second in 0..seconds {
                if every > 0 && second % every == 0 {
                    table.count();
                }
                tables.tick(RULES);
            }
            table.is_cold()
        };

        assert!(!run(55, 0), "it is not cold before its half-life is over");
        assert!(run(10, 0));
        // Nine a minute: more than makes a warm one cold, less than makes a cold one warm.
        assert!(run(600, 7));
        assert!(!run(600, 3));
        assert!(!run(600, 7));
        assert!(run(600, 20));
        assert_eq!(tables.rows()[0]["uses_total"], 402);
    }

    #[test]
    fn what_no_plan_uses_is_forgotten_when_it_is_cold() {
        let tables = Tables::default();
        drop(tables.of("gone"));
        for _ in 0..30 {
            tables.tick(RULES);
        }
        assert_eq!(tables.rows().len(), 1);
        for _ in 0..60 {
            tables.tick(RULES);
        }
        assert!(tables.rows().is_empty());
    }
}
