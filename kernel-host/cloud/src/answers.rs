//! Questions about the cluster that any node answers from what it keeps.
//!
//! Does:      turns reading commands into answers, and puts places into the answers of the node's
//!            own tables.
//! Does not:  change anything, or ask another node.
//! Start at:  `Atlas::answer`.

use crate::{Atlas, Refusal};
use protocol::{Answer, Command, Image, Name, Vm, Wish};

impl Atlas {
    /// The answer to a reading command. `None`: it is not one, or a node of the wish has to
    /// answer it itself.
    pub fn answer(&self, command: &Command, wish: &Wish) -> Option<Result<Answer, Refusal>> {
        match command {
            Command::ListVms(page) => Some(self.vms(wish, page).map(Answer::Vms)),
            Command::ShowVm(vm) => Some(self.find(vm).map(|known| Answer::Vm(known.vm.clone()))),
            Command::ListImages(page) => Some(self.images(wish, page).map(Answer::Images)),
            Command::ShowImage(name) => Some(self.image(name, wish).map(Answer::Image)),
            _ => None,
        }
    }

    /// The one image of this name, with all its nodes.
    fn image(&self, name: &Name, wish: &Wish) -> Result<Image, Refusal> {
        let found = self.named_images(name, wish)?;
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.no_such_image(name)),
            several => Err(Refusal::Ambiguous {
                what: name.to_string(),
                kind: "images",
                count: several.len(),
                fitting: several
                    .iter()
                    .filter_map(|image| image.places.first())
                    .take(5)
                    .map(|place| format!("one on {}", place.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// Puts the host and its age into an answer of the node's own tables.
    pub fn dress(&self, answer: Answer) -> Answer {
        let vm = |vm: Vm| self.dressed(vm);
        match answer {
            Answer::Vm(one) => Answer::Vm(vm(one)),
            Answer::VmAccepted(one) => Answer::VmAccepted(vm(one)),
            Answer::VmCreated(one) => Answer::VmCreated(vm(one)),
            Answer::VmDeleted(one) => Answer::VmDeleted(vm(one)),
            Answer::Image(image) => Answer::Image(self.dressed_image(image)),
            Answer::ImageCreated(image) => Answer::ImageCreated(self.dressed_image(image)),
            Answer::ImageDeleted(image) => Answer::ImageDeleted(self.dressed_image(image)),
            other => other,
        }
    }

    fn dressed(&self, vm: Vm) -> Vm {
        let label = self.vms.get(&(vm.name.clone(), vm.id));
        Vm {
            label: label.and_then(|known| known.vm.label.clone()),
            place: Some(self.place(vm.node)),
            ..vm
        }
    }

    fn dressed_image(&self, image: Image) -> Image {
        Image {
            places: vec![self.place(self.me)],
            ..image
        }
    }
}
