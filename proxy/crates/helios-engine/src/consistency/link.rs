//! One connection to Redis: orders go out as they come, and their answers come in that order. The first that is late ends
//! it, as does one that is an error.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::resp;
use super::{Keys, Order, Slot};
use crate::config::ConsistencyKeys;
use crate::rt::{self, Conn};
use crate::worker::Worker;

/// How long a connection on which nothing is asked is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(3600);

/// Why a connection ends.
pub(super) enum End {
    /// Redis has closed it, and owes no answer.
    Unused,
    /// The configuration is another.
    Replaced,
    Lost(String),
}

/// A connection that is logged in.
pub(super) struct Link {
    conn: Conn,
    /// The process at its other end.
    run_id: String,
    /// Who waits for answers, and since when; nobody does for some.
    asked: VecDeque<(Option<Rc<Slot>>, u64)>,
}

impl Link {
    /// # Errors
    /// Why there is none, for people to read.
    pub(super) async fn open(worker: &Worker, config: &ConsistencyKeys) -> Result<Link, String> {
        let active = worker.active();
        let limit = Duration::from_millis(active.snapshot.limits.connect_timeout_ms);
        let conn = rt::connect(&config.host, config.port, &[], limit, &active.snapshot.tcp);
        let mut conn = conn.await.map_err(|err| err.to_string())?;
        if let Some(tls) = &active.key_connector {
            let stream = tls.stream(&config.host)?;
            conn.start_tls(stream)
                .await
                .map_err(|err| format!("no TLS: {err}"))?;
        }
        if let Some(password) = &config.password {
            let user = config.user.as_ref().map(String::as_bytes);
            let parts = [Some(&b"AUTH"[..]), user, Some(password.as_bytes())];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            call(&mut conn, &resp::command(&parts)).await?;
        }
        if config.database > 0 {
            let number = config.database.to_string();
            call(&mut conn, &resp::command(&[b"SELECT", number.as_bytes()])).await?;
        }
        conn.wbuf.extend(&resp::command(&[b"INFO"]));
        let info = next(&mut conn).await?;
        Ok(Link {
            conn,
            run_id: resp::run_id(&info)?,
            asked: VecDeque::new(),
        })
    }

    /// Carries orders out until it ends. Nobody waits for an answer then.
    pub(super) async fn serve(
        &mut self,
        keys: &Keys,
        worker: &Worker,
        config: &Arc<ConsistencyKeys>,
    ) -> End {
        self.conn.wbuf.extend(&resp::meet(config, &self.run_id));
        self.asked.push_back((None, worker.clock()));
        let end = loop {
            let limit = self.limit(worker, config);
            let moved = poll_fn(|cx| self.poll(keys, worker, config, cx));
            match rt::timeout(limit, moved).await {
                Some(Ok(())) => {}
                Some(Err(end)) => break end,
                None if self.asked.is_empty() => {}
                None => break End::Lost(format!("no answer within {} ms", config.timeout_ms)),
            }
        };
        for (slot, _) in self.asked.drain(..) {
            if let Some(slot) = slot {
                slot.put(None);
            }
        }
        end
    }

    /// How long its next answer may take.
    fn limit(&self, worker: &Worker, config: &ConsistencyKeys) -> Duration {
        let Some((_, since)) = self.asked.front() else {
            return LEFT_ALONE;
        };
        let waited = Duration::from_nanos(worker.clock().saturating_sub(*since));
        Duration::from_millis(config.timeout_ms).saturating_sub(waited)
    }

    /// Ready when there is another answer to wait for, or none any more.
    fn poll(
        &mut self,
        keys: &Keys,
        worker: &Worker,
        config: &Arc<ConsistencyKeys>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        keys.waker.replace(Some(cx.waker().clone()));
        if !is_same(worker, config) {
            return Poll::Ready(Err(End::Replaced));
        }
        let was_idle = self.asked.is_empty();
        self.take_orders(keys, worker, config);
        if !self.conn.wbuf.is_empty() {
            if let Poll::Ready(Err(err)) = self.conn.poll_flush(cx) {
                return Poll::Ready(Err(End::Lost(err.to_string())));
            }
        }
        match self.conn.poll_fill(cx) {
            Poll::Ready(Ok(0)) if self.asked.is_empty() => Poll::Ready(Err(End::Unused)),
            Poll::Ready(Ok(0)) => {
                let cause = "it has closed the connection".to_owned();
                Poll::Ready(Err(End::Lost(cause)))
            }
            Poll::Ready(Ok(_)) => Poll::Ready(self.take_answers().map_err(End::Lost)),
            Poll::Ready(Err(err)) => Poll::Ready(Err(End::Lost(err.to_string()))),
            Poll::Pending if was_idle && !self.asked.is_empty() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn take_orders(&mut self, keys: &Keys, worker: &Worker, config: &ConsistencyKeys) {
        let now = worker.clock();
        // Ahead of whatever is asked from here on.
        if keys.is_lost.take() {
            let doubt = resp::order(config, &Order::Doubt);
            self.conn.wbuf.extend(&doubt);
            self.asked.push_back((None, now));
        }
        for (order, slot) in keys.orders.take() {
            self.conn.wbuf.extend(&resp::order(config, &order));
            self.asked.push_back((Some(slot), now));
        }
    }

    fn take_answers(&mut self) -> Result<(), String> {
        while let Some((frame, length)) = resp::answer(self.conn.rbuf.bytes())? {
            self.conn.rbuf.consume(length);
            let asked = self.asked.pop_front();
            let (slot, _) = asked.ok_or("an answer that nobody has asked for")?;
            let answer = match resp::read(&frame, &self.run_id) {
                Ok(answer) => Some(answer),
                Err(cause) => {
                    // Who asked must not wait for the next connection.
                    self.asked.push_front((slot, 0));
                    return Err(cause);
                }
            };
            if let Some(slot) = slot {
                slot.put(answer);
            }
        }
        Ok(())
    }
}

fn is_same(worker: &Worker, config: &Arc<ConsistencyKeys>) -> bool {
    let snapshot = worker.config();
    let present = snapshot.consistency_keys.as_ref();
    present.is_some_and(|present| Arc::ptr_eq(present, config) || present == config)
}

async fn call(conn: &mut Conn, command: &[u8]) -> Result<(), String> {
    conn.wbuf.extend(command);
    next(conn).await.map(drop)
}

/// Sends what is to be sent, and waits for an answer.
async fn next(conn: &mut Conn) -> Result<redis_protocol::resp2::types::OwnedFrame, String> {
    conn.flush().await.map_err(|err| err.to_string())?;
    loop {
        if let Some((frame, length)) = resp::answer(conn.rbuf.bytes())? {
            conn.rbuf.consume(length);
            return Ok(frame);
        }
        match conn.fill().await {
            Ok(0) => return Err("it has closed the connection".to_owned()),
            Ok(_) => {}
            Err(err) => return Err(err.to_string()),
        }
    }
}
