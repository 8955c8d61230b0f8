//! The agent's ledger on a simulated disk: the real memory, and which part of
//! it survives a crash.

use crate::{
    scene::{Coming, Fate, Scene},
    stage::Node,
};
use agent::{
    keeper::Waiting,
    ledger::{Entry, Memory},
};
use model::StepReport;

/// What waits for a write.
#[derive(Debug)]
pub(super) enum Done {
    /// The intent of a command.
    Intent(Waiting),
    /// An outcome.
    Outcome(StepReport),
}

type Batch = (Vec<Entry>, Option<Done>);

/// What is remembered, and what is on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    memory: Memory,
    waiting: Vec<Batch>,
    flying: Option<Vec<Batch>>,
}

impl Ledger {
    /// Opened: the lines on the disk are folded again.
    pub(super) fn open(disk: &Memory) -> Self {
        let mut memory = Memory::default();
        disk.entries().into_iter().for_each(|entry| memory.apply(entry));
        Self { memory, ..Self::default() }
    }

    pub(super) const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes entries in, as one act.
    pub(super) fn append(
        &mut self,
        node: Node,
        entries: Vec<Entry>,
        done: Option<Done>,
        scene: &mut Scene,
    ) {
        for entry in &entries {
            self.memory.apply(entry.clone());
        }
        self.waiting.push((entries, done));
        if self.flying.is_none() {
            self.write(node, scene);
        }
    }

    /// What has gathered goes in one line.
    fn write(&mut self, node: Node, scene: &mut Scene) {
        self.flying = Some(std::mem::take(&mut self.waiting));
        let (took, incarnation) = (scene.disk(node), scene.lives[node].incarnation);
        scene.at(scene.now + took, Coming::Durable { node, incarnation });
    }

    /// The write has ended, or the machine with it.
    pub(super) fn written(
        &mut self,
        node: Node,
        disk: &mut Memory,
        scene: &mut Scene,
    ) -> Vec<Done> {
        let fate = scene.fate(node);
        let batches = self.flying.take().unwrap_or_default();
        if fate == Fate::LostWithNode {
            return vec![];
        }
        let mut ended = Vec::with_capacity(batches.len());
        for (entries, done) in batches {
            entries.into_iter().for_each(|entry| disk.apply(entry));
            ended.extend(done);
        }
        if fate == Fate::KeptWithoutNode {
            return vec![];
        }
        if !self.waiting.is_empty() {
            self.write(node, scene);
        }
        ended
    }
}
