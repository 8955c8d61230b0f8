//! The `[[fence]]` tables of coordinator.toml and what makes them sound.

use daemon::{
    command,
    config::{Faults, Source, Span, Spanned},
};
use failover::ProofLevel;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Hooks at most: a site has one way to cut its power and one to cut its venue,
/// and an installation a few sites.
const HOOKS_MAX: usize = 8;
/// Shortest and longest deadline of one call. Less than a second no remote API
/// answers; an outage that waits for longer than five minutes needs a person.
const DEADLINE_MIN: Span = Span::from_secs(1);
const DEADLINE_MAX: Span = Span::from_secs(300);

/// One `[[fence]]` of coordinator.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceConfig {
    /// Its name, which group files ask for.
    pub name: Spanned<String>,
    /// What its "confirmed" proves: 4 (the machine is off) or 5 (the venue is cut off).
    pub level: Spanned<ProofLevel>,
    /// The executable's absolute path, and its arguments.
    pub command: Spanned<Vec<String>>,
    /// The deadline of one call; 30 s by default. A later answer is no answer.
    #[serde(default = "default_deadline")]
    pub deadline: Spanned<Span>,
}

fn default_deadline() -> Spanned<Span> {
    Spanned::new(0..0, Span::from_secs(30))
}

/// Adds what is wrong with the hooks, each fault at its place in `source`.
pub fn check(hooks: &[FenceConfig], source: &Source, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for (number, hook) in hooks.iter().enumerate() {
        hook.check(source, faults);
        if !names.insert(hook.name.get_ref()) {
            let message = format!("the hook `{}` is given twice", hook.name.get_ref());
            faults.push(source.fault_at(&hook.name, "fence.name", message, "rename one of them"));
        }
        if number == HOOKS_MAX {
            let message = format!("{} hooks are given; at most {HOOKS_MAX}", hooks.len());
            let hint = "one hook may serve many groups: its input names group, site and host";
            faults.push(source.fault_at(&hook.name, "fence", message, hint));
        }
    }
}

impl FenceConfig {
    fn check(&self, source: &Source, faults: &mut Faults) {
        // The same form as every other name: it stands in group files and records.
        if let Err(error) = model::ServiceName::new(self.name.get_ref().clone()) {
            let message = error.to_string().replace("service name", "hook's name");
            faults.push(source.fault_at(&self.name, "fence.name", message, "such as \"power\""));
        }
        match self.level.get_ref() {
            ProofLevel::Provider | ProofLevel::Venue => {}
            ProofLevel::Lapsed | ProofLevel::LapsedBehindGate | ProofLevel::Acknowledged => {
                let message =
                    format!("a hook cannot prove level {}", self.level.get_ref().number());
                let hint = "4 when it makes sure that the machine is off, 5 when the venue takes \
                            nothing from it any more";
                faults.push(source.fault_at(&self.level, "fence.level", message, hint));
            }
        }
        self.check_command(source, faults);
        let given = *self.deadline.get_ref();
        if given < DEADLINE_MIN || given > DEADLINE_MAX {
            let message = format!("`{given}` is not {DEADLINE_MIN} to {DEADLINE_MAX}");
            let hint = "use a length such as \"30s\"";
            faults.push(source.fault_at(&self.deadline, "fence.deadline", message, hint));
        }
    }

    fn check_command(&self, source: &Source, faults: &mut Faults) {
        let Some(message) = command::fault(self.command.get_ref()) else { return };
        let hint = "give the executable's absolute path, then its arguments, such as \
                    [\"/usr/lib/understudy/fence/http-provider\", \"/etc/understudy/power.json\"]";
        faults.push(source.fault_at(&self.command, "fence.command", message, hint));
    }
}
