//! The border between Python and the engine: bytes of JSON both ways, one exception per kind of refusal. The
//! interpreter is released wherever the engine may wait, and the engine never enters it.

use std::time::Duration;

use helios_engine::EngineError as Failure;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

create_exception!(
    helios_core,
    EngineError,
    PyException,
    "The engine refused or failed."
);
create_exception!(
    helios_core,
    SnapshotError,
    EngineError,
    "The document was refused; the message names the field."
);
create_exception!(
    helios_core,
    ListenError,
    EngineError,
    "An address could not be bound; the message names it."
);

fn raise(failure: Failure) -> PyErr {
    let text = failure.to_string();
    match failure {
        Failure::Snapshot(_) => SnapshotError::new_err(text),
        Failure::Listen(_) => ListenError::new_err(text),
        Failure::Worker(_) => EngineError::new_err(text),
    }
}

/// The data plane of one process.
#[pyclass(frozen, module = "helios_core")]
struct Engine(helios_engine::Engine);

#[pymethods]
impl Engine {
    #[new]
    fn new(snapshot: &[u8]) -> PyResult<Engine> {
        helios_engine::Engine::new(snapshot)
            .map(Engine)
            .map_err(raise)
    }

    /// Binds, or takes over what another process had bound, and starts; JSON `{"listen": [{"host", "port"}]}`.
    fn start<'py>(&self, py: Python<'py>, inheritance: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let document = py.detach(|| self.0.start(inheritance)).map_err(raise)?;
        Ok(PyBytes::new(py, &document))
    }

    /// The process that was taken over from has let go.
    fn own_files(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.own_files()).map_err(raise)
    }

    /// What another process needs to take over, and asks for at `path`.
    fn offer<'py>(&self, py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyBytes>> {
        let document = py.detach(|| self.0.offer(path)).map_err(raise)?;
        Ok(PyBytes::new(py, &document))
    }

    /// Stops accepting, for another process has taken over.
    fn withdraw(&self, py: Python<'_>, successor: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.withdraw(successor)).map_err(raise)
    }

    /// Swaps the configuration; the old one stays when the document is refused.
    fn reload(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.reload(snapshot)).map_err(raise)
    }

    /// Tells where the primaries are.
    fn set_topology(&self, py: Python<'_>, topology: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.set_topology(topology)).map_err(raise)
    }

    /// Waits until every worker acts by the last topology; how many clients of the cluster have a transaction under way,
    /// or None if that was not known in time.
    fn settle(&self, py: Python<'_>, cluster: &str, timeout_ms: u64) -> Option<usize> {
        py.detach(|| self.0.settle(cluster, Duration::from_millis(timeout_ms)))
    }

    /// Tells how far nodes are.
    fn set_positions(&self, py: Python<'_>, positions: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.set_positions(positions)).map_err(raise)
    }

    /// Tells how a poll of a node went; `error` is why it had no answer.
    fn note_poll(&self, py: Python<'_>, cluster: &str, node: &str, error: Option<&str>) {
        py.detach(|| self.0.note_poll(cluster, node, error));
    }

    /// What the planner would be told about a statement, or None for a database that is not configured.
    fn policy<'py>(
        &self,
        py: Python<'py>,
        database: &str,
        application_name: &str,
        sql: &str,
    ) -> Option<Bound<'py, PyBytes>> {
        let told = py.detach(|| self.0.policy(database, application_name, sql));
        told.map(|told| PyBytes::new(py, &told))
    }

    /// The state document.
    fn state<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let document = py.detach(|| self.0.state());
        PyBytes::new(py, &document)
    }

    /// The document of clients and servers.
    fn sessions<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let document = py.detach(|| self.0.sessions());
        PyBytes::new(py, &document)
    }

    /// Carries out what an administrator orders.
    fn order(&self, py: Python<'_>, order: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.order(order)).map_err(raise)
    }

    /// Answers a command of the console.
    fn answer(&self, py: Python<'_>, id: u64, answer: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.answer(id, answer)).map_err(raise)
    }

    /// The next event, or None after `timeout_ms`.
    fn next_event<'py>(&self, py: Python<'py>, timeout_ms: u64) -> Option<Bound<'py, PyBytes>> {
        let event = py.detach(|| self.0.next_event(Duration::from_millis(timeout_ms)));
        event.map(|event| PyBytes::new(py, &event))
    }

    /// The next span of a statement, or None after `timeout_ms`.
    fn next_span<'py>(&self, py: Python<'py>, timeout_ms: u64) -> Option<Bound<'py, PyBytes>> {
        let span = py.detach(|| self.0.next_span(Duration::from_millis(timeout_ms)));
        span.map(|span| PyBytes::new(py, &span))
    }

    /// Statements that wait for a plan, or None once the engine has ended; waits at most `timeout_ms` for one.
    fn next_unplanned<'py>(&self, py: Python<'py>, timeout_ms: u64) -> Option<Bound<'py, PyBytes>> {
        let questions = py.detach(|| self.0.next_unplanned(Duration::from_millis(timeout_ms)));
        questions.map(|questions| PyBytes::new(py, &questions))
    }

    /// Takes the plan of a statement.
    fn set_plan(&self, py: Python<'_>, plan: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.set_plan(plan)).map_err(raise)
    }

    /// Forgets the plans that were made by the catalog of this database.
    fn outdate_plans(&self, cluster: &str, database: &str) {
        self.0.outdate_plans(cluster, database);
    }

    /// Stops accepting, ends clients between transactions, waits; the number of clients left.
    fn drain(&self, py: Python<'_>, timeout_ms: u64) -> usize {
        py.detach(|| self.0.drain(Duration::from_millis(timeout_ms)))
    }

    /// Ends everything at once.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }
}

/// The hints in a text: keys in small letters, values without quotes.
#[pyfunction]
fn hints(sql: &str) -> Vec<(String, String)> {
    helios_engine::hints(sql)
}

#[pymodule]
fn helios_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Engine>()?;
    module.add_function(wrap_pyfunction!(hints, module)?)?;
    module.add("EngineError", py.get_type::<EngineError>())?;
    module.add("SnapshotError", py.get_type::<SnapshotError>())?;
    module.add("ListenError", py.get_type::<ListenError>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
