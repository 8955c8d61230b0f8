//! Orders of operators through the coordinators: each is carried out once, where
//! agent.toml lets coordinators do so (A7), and what came of it is saved.

use super::{Host, IsolationError, Order, Proof, saved::Saved};
use model::{HostDeed, HostOrder, OrderOutcome};

impl Host {
    /// Carries out an order, or gives what came of it before. `anew` says whether
    /// it came by a session that began after the isolation. Blocks.
    ///
    /// # Errors
    /// [`IsolationError::Saved`]: what came of it is not durable, and nobody is told.
    pub fn carry_out(&self, order: &HostOrder, anew: bool) -> Result<OrderOutcome, IsolationError> {
        let known = Saved::load(&self.state_dir)?.order;
        if let Some(known) = known.filter(|known| known.id == order.id) {
            return Ok(known);
        }
        let outcome = match self.deed(order, anew) {
            Ok(detail) => OrderOutcome { id: order.id, done: true, detail },
            Err(error) => OrderOutcome { id: order.id, done: false, detail: error.to_string() },
        };
        let _turn = self.turn()?;
        let mut saved = Saved::load(&self.state_dir)?;
        saved.order = Some(outcome.clone());
        saved.save(&self.state_dir)?;
        Ok(outcome)
    }

    fn deed(&self, order: &HostOrder, anew: bool) -> Result<String, IsolationError> {
        if !self.config.remote {
            return Err(IsolationError::NotRemote);
        }
        let by = format!("{} through the coordinators", order.by);
        match order.deed {
            HostDeed::Isolate { profile, span, force } => {
                let begun = self.on(&Order {
                    profile,
                    span: span.map(model::Millis::to_duration),
                    reason: order.reason.clone(),
                    by,
                    session: None,
                    administrators: Vec::new(),
                    force,
                })?;
                let mut words = match begun.already {
                    true => format!("it was isolated already ({profile})"),
                    false => format!("isolated ({profile})"),
                };
                for note in begun.notes {
                    words.push_str(&format!("; {note}"));
                }
                Ok(words)
            }
            HostDeed::Confirm => {
                self.confirm(&by, &Proof::Coordinator { anew })?;
                Ok("confirmed: it stands until it is released or its time is over".into())
            }
            HostDeed::Release => Ok(match self.off(&by, &order.reason)? {
                true => "released: all is as it was before".into(),
                false => "it was not isolated".into(),
            }),
        }
    }
}
