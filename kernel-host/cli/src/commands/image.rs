//! `luc image ...`.
//!
//! Does:      adds an image to the nodes that are meant, lists, shows and deletes.
//! Does not:  copy between nodes: each is sent the files, unless it has them.
//! Bounds:    one node at a time.
//! Trusts:    the cluster for which nodes a site has.
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{ImageAdd, ImageDelete, ImageVerb, Nodes},
    client::Client,
    confirm::{Decision, confirm},
    render::{Layout, check_columns},
    upload::upload,
};
use protocol::{Code, Image, NewImage, Problem, Selector, Wish};

pub(super) fn run(verb: &ImageVerb, session: &mut Session<'_>) -> Done {
    check_columns::<Image>(session.common)?;
    match verb {
        ImageVerb::Add(add) => make(add, session),
        ImageVerb::List(at) => {
            let images = session.client.aimed_at(super::vm::wish(at)).list_images()?;
            let word = "No images yet. Add one: luc image add NAME --kernel FILE";
            session.if_empty(images.items.is_empty(), word);
            session.page(&images)
        }
        ImageVerb::Show(one) => {
            let image = session.client.show_image(&one.image)?;
            session.show(&image, Layout::Card)
        }
        ImageVerb::Delete(delete) => remove(delete, session),
    }
}

/// The nodes that are meant: `None` is the one that is asked.
fn targets(on: &Nodes, session: &mut Session<'_>) -> Result<Vec<Option<Selector>>, Problem> {
    let Some(site) = &on.site else {
        let named = on.nodes.iter().cloned().map(Some);
        return Ok(match on.nodes.is_empty() {
            true => vec![None],
            false => named.collect(),
        });
    };
    let nodes = session.client.list_nodes(Some(site))?;
    session.note(&nodes.notes);
    let alive = nodes.items.iter().filter(|node| node.state.may_answer());
    let found: Vec<_> = alive.map(|node| Some(node.id.into())).collect();
    if found.is_empty() {
        let detail = format!("No node of site `{site}` answers");
        return Err(Problem::new(Code::HostSilent, detail, "See: luc site list"));
    }
    Ok(found)
}

fn aimed(session: &Session<'_>, node: Option<Selector>) -> Client {
    session.client.aimed_at(Wish { node, site: None })
}

fn make(add: &ImageAdd, session: &mut Session<'_>) -> Done {
    let targets = targets(&add.on, session)?;
    let mut made = Vec::new();
    for node in targets {
        let client = aimed(session, node);
        made.push(make_at(add, &client, session)?);
    }
    match made.as_slice() {
        [one] => session.show(one, Layout::Row),
        several => session.list(several),
    }
}

/// Whether the image is there already is for its node to say: what others list may be of another
/// node, or of the past.
fn make_at(add: &ImageAdd, client: &Client, session: &mut Session<'_>) -> Result<Image, Problem> {
    let quiet = session.common.quiet;
    let mut digests = [None; 3];
    let parts = [
        ("kernel", Some(&add.kernel)),
        ("initrd", add.initrd.as_ref()),
        ("disk", add.disk.as_ref()),
    ];
    for ((role, path), digest) in parts.into_iter().zip(&mut digests) {
        if let Some(path) = path {
            *digest = Some(upload(client, role, path, quiet, session.streams)?);
        }
    }
    let [Some(kernel), initrd, disk] = digests else {
        return Err(crate::usage("An image needs a kernel", "Add --kernel FILE"));
    };
    let (name, cmdline) = (add.name.clone(), add.cmdline.clone());
    let new = NewImage {
        name,
        kernel,
        initrd,
        disk,
        cmdline,
    };
    client.create_image(&new)
}

/// The images as they are at their places, each with the node to delete it from.
fn chosen(
    delete: &ImageDelete,
    session: &mut Session<'_>,
) -> Result<Vec<(Option<Selector>, Image)>, Problem> {
    let everywhere = delete.on.nodes.is_empty() && delete.on.site.is_none();
    let mut found = Vec::new();
    for name in &delete.images {
        if everywhere {
            let image = session.client.show_image(name)?;
            let mut silent = Vec::new();
            for place in &image.places {
                match place.reachable {
                    true => found.push((Some(place.node.into()), image.clone())),
                    false => {
                        silent.push(format!("node `{}` keeps `{name}`: no answer", place.name))
                    }
                }
            }
            if image.places.is_empty() {
                found.push((None, image));
            }
            session.note(&silent);
            continue;
        }
        for node in targets(&delete.on, session)? {
            let image = aimed(session, node.clone()).show_image(name)?;
            found.push((node, image));
        }
    }
    Ok(found)
}

fn remove(delete: &ImageDelete, session: &mut Session<'_>) -> Done {
    let chosen = chosen(delete, session)?;
    let mut images: Vec<Image> = chosen.iter().map(|(_, image)| image.clone()).collect();
    images.dedup_by(|a, b| a.name == b.name);
    session.show_beforehand(&images)?;
    let question = match (images.as_slice(), chosen.len()) {
        ([image], 0 | 1) => format!("Delete image `{}`", image.name),
        ([image], nodes) => format!("Delete image `{}` from {nodes} nodes", image.name),
        (several, _) => format!("Delete {} images", several.len()),
    };
    match confirm(&question, delete.dry_run, session.common, session.streams)? {
        Decision::Go => {}
        Decision::End(code) => return Ok(code),
    }
    let mut deleted = Vec::new();
    for (node, image) in chosen {
        match aimed(session, node).delete_image(&image.name) {
            Ok(image) => deleted.push(image),
            Err(problem) if problem.code == Code::NotFound => deleted.push(image),
            Err(problem) => return Err(problem),
        }
    }
    deleted.dedup_by(|a, b| a.name == b.name);
    session.list(&deleted)
}
