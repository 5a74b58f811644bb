//! `luc image ...`.
//!
//! Start at:  `run`.

use super::Session;
use crate::{
    Done,
    arguments::{ImageAdd, ImageDelete, ImageVerb},
    confirm::{Decision, confirm},
    render::{Layout, check_columns},
    upload::upload,
};
use protocol::{Code, Image, NewImage, Problem};

pub(super) fn run(verb: &ImageVerb, session: &mut Session<'_>) -> Done {
    check_columns::<Image>(session.common)?;
    match verb {
        ImageVerb::Add(add) => make(add, session),
        ImageVerb::List => {
            let images = session.client.list_images()?;
            if images.is_empty() && session.streams.output_is_terminal && !session.common.quiet {
                session
                    .streams
                    .tell("No images yet. Add one: luc image add NAME --kernel FILE");
            }
            session.list(&images)
        }
        ImageVerb::Show(one) => {
            let image = session.client.show_image(&one.image)?;
            session.show(&image, Layout::Card)
        }
        ImageVerb::Delete(delete) => remove(delete, session),
    }
}

fn make(add: &ImageAdd, session: &mut Session<'_>) -> Done {
    let known = match session.client.show_image(&add.name) {
        Ok(image) => Some(image),
        Err(problem) if problem.code == Code::NotFound => None,
        Err(problem) => return Err(problem),
    };
    let quiet = session.common.quiet;
    let mut digests = [None; 3];
    let parts = [
        ("kernel", Some(&add.kernel)),
        ("initrd", add.initrd.as_ref()),
        ("disk", add.disk.as_ref()),
    ];
    for ((role, path), digest) in parts.into_iter().zip(&mut digests) {
        if let Some(path) = path {
            *digest = Some(upload(&session.client, role, path, quiet, session.streams)?);
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
    let image = match known {
        Some(image) if same(&image, &new) => {
            if !quiet {
                session
                    .streams
                    .tell(format_args!("Image `{}` is exactly this already", new.name));
            }
            image
        }
        _ => session.client.create_image(&new)?,
    };
    session.show(&image, Layout::Row)
}

/// Adding what is there already is done already.
fn same(image: &Image, new: &NewImage) -> bool {
    image.kernel.digest == new.kernel
        && image.initrd.map(|part| part.digest) == new.initrd
        && image.disk.map(|part| part.digest) == new.disk
        && image.cmdline == new.cmdline
}

fn remove(delete: &ImageDelete, session: &mut Session<'_>) -> Done {
    let images: Vec<Image> = delete
        .images
        .iter()
        .map(|image| session.client.show_image(image))
        .collect::<Result<_, Problem>>()?;
    session.show_beforehand(&images)?;
    let question = match images.as_slice() {
        [image] => format!("Delete image `{}`", image.name),
        several => format!("Delete {} images", several.len()),
    };
    match confirm(&question, delete.dry_run, session.common, session.streams)? {
        Decision::Go => {}
        Decision::End(code) => return Ok(code),
    }
    let mut deleted = Vec::new();
    for image in images {
        match session.client.delete_image(&image.name) {
            Ok(image) => deleted.push(image),
            Err(problem) if problem.code == Code::NotFound => deleted.push(image),
            Err(problem) => return Err(problem),
        }
    }
    session.list(&deleted)
}
