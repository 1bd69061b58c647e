//! The data that a product keeps.

use super::steps::Steps;
use crate::{
    config::{
        documents::{DataStore, Loss},
        source::KeyPath,
    },
    steps::Action,
};

impl Steps<'_, '_, '_> {
    /// Judges what data a product has: what is worth saving is, and what is not is not by accident.
    pub fn data(&mut self, path: &KeyPath, stores: &[DataStore]) {
        let mut names: Vec<&str> = Vec::new();
        for (index, store) in stores.iter().enumerate() {
            let (at, loss) = (path.index(index), store.loss.as_str());
            let source = self.setting.source;
            if let Some(check) = store.to_check() {
                self.action(&at, &mut Action::Check(check));
            }
            if let Some(when) = &store.when {
                self.when(&at.key("when"), when);
            }
            if store.name.trim().is_empty() || names.contains(&store.name.as_str()) {
                let message = format!("there must be one piece of data called `{}`", store.name.escape_debug());
                self.found.error(source.place(&at.key("name")), message, None);
            }
            if store.copy.is_some() && store.when.is_none() && !store.loss.is_needed() {
                let message = format!("what is `{loss}` is not saved by default");
                let hint = "add `when` with a variable by which a host asks for it, or leave out `copy`".to_owned();
                self.found.error(source.key_place(&at.key("copy")), message, Some(hint));
            }
            if store.point_in_time && store.loss != Loss::Critical {
                let message = format!("what is `{loss}` is not worth recovery to any moment");
                let hint = "only what is `critical` is: leave out `point-in-time`".to_owned();
                self.found.error(source.key_place(&at.key("point-in-time")), message, Some(hint));
            }
            names.push(&store.name);
        }
    }
}
