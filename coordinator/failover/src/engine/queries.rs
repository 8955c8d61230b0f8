//! What may be asked of the engine without changing anything.

use super::Engine;
use crate::{
    event::Now,
    request::{PlanPreview, PlanRequest, Refused},
    sight::Sight,
    state::State,
    view::View,
};
use alloc::{format, vec::Vec};
use model::{GroupId, Mono, Term};

impl Engine {
    /// The facts.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The opinion.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// The term in which this coordinator leads, if it does.
    #[must_use]
    pub fn leads(&self) -> Option<Term> {
        self.leading.map(|leading| leading.term)
    }

    /// Since when it has been watching.
    #[must_use]
    pub const fn born(&self) -> Mono {
        self.born
    }

    /// What a decision about `group` would look at now.
    ///
    /// # Errors
    /// [`Refused::NoSuch`] with the groups that there are.
    pub fn look(&self, group: &GroupId, now: Now) -> Result<Sight, Refused> {
        let found = self.state.groups.get(group).ok_or_else(|| self.no_such_group(group))?;
        Ok(self.sight(found, now))
    }

    /// The plan that `asked` would lead to, and what stands against it.
    ///
    /// # Errors
    /// [`Refused::NoSuch`] when group or target do not exist.
    pub fn preview(&self, asked: &PlanRequest, now: Now) -> Result<PlanPreview, Refused> {
        let found =
            self.state.groups.get(&asked.group).ok_or_else(|| self.no_such_group(&asked.group))?;
        asked.preview(found, &self.sight(found, now), self.settings.dns_hook)
    }

    pub(super) fn no_such_group(&self, group: &GroupId) -> Refused {
        let names: Vec<&str> = self.state.groups.keys().map(GroupId::as_str).collect();
        Refused::NoSuch(match names.is_empty() {
            true => {
                format!("no group is called {group}; none is applied yet: coordctl apply -f DIR")
            }
            false => format!("no group is called {group}; there are: {}", names.join(", ")),
        })
    }
}
