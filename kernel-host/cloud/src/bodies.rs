//! What this room says in records: bodies of kinds `VM`, `IMAGES` and `CAPACITY`.
//!
//! Does:      one byte of version, then postcard; a decoded body is inside every limit.
//! Does not:  sign, spread or version records (`overlay`), or believe them (`atlas`, `Cloud`).
//! Bounds:    `VM_BODY_BYTES_MAX`, `IMAGES_BODY_BYTES_MAX`; counts are checked before use.
//! Trusts:    nobody: the bytes were written by another node.
//! Start at:  `VmBody`. Fields are only ever added at the end; older readers ignore those.

use protocol::{
    BlobRef, Capacity, Image, Name, NodeId, Timestamp, Vm, VmId, VmSpec, VmState, limits,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// First byte of each body that we write.
const VERSION: u8 = 1;

/// Name, arguments and reason at their longest, and 500 bytes for the rest.
pub const VM_BODY_BYTES_MAX: usize =
    limits::NAME_CHARS_MAX * 2 + limits::CMDLINE_CHARS_MAX + 4 * limits::REASON_CHARS_MAX + 500;

/// All images of a node; a record carries this much. Above it arguments are cut.
pub const IMAGES_BODY_BYTES_MAX: usize = 48 << 10;

/// What stays of an image's kernel arguments when all of them don't fit.
const CUT_CMDLINE_CHARS: usize = 200;

/// Why bytes are no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    #[error("{bytes} bytes are too many")]
    Size { bytes: usize },
    #[error("it is empty or of a version that is not known")]
    Version,
    #[error("it is malformed")]
    Form,
    #[error("its {what} is outside its limits")]
    Limit { what: &'static str },
}

/// A VM, as its host tells the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmBody {
    pub name: Name,
    pub host: NodeId,
    pub spec: VmSpec,
    pub state: VmState,
    pub reason: Option<String>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub starts: u32,
    pub resets: u32,
}

/// A node's images. Self-record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesBody {
    pub images: Vec<ImageFact>,
}

/// One image of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFact {
    pub name: Name,
    pub kernel: BlobRef,
    pub initrd: Option<BlobRef>,
    pub disk: Option<BlobRef>,
    pub cmdline: String,
    pub created_at: Timestamp,
    pub vms: u32,
}

impl From<&Vm> for VmBody {
    fn from(vm: &Vm) -> Self {
        Self {
            name: vm.name.clone(),
            host: vm.node,
            spec: vm.spec.clone(),
            state: vm.state,
            reason: vm.reason.clone(),
            created_at: vm.created_at,
            changed_at: vm.changed_at,
            starts: vm.starts,
            resets: vm.resets,
        }
    }
}

impl VmBody {
    /// As the API shows it; the steps of its start are known only to its host.
    pub fn into_vm(self, id: VmId) -> Vm {
        Vm {
            id,
            name: self.name,
            node: self.host,
            spec: self.spec,
            state: self.state,
            reason: self.reason,
            created_at: self.created_at,
            changed_at: self.changed_at,
            starts: self.starts,
            resets: self.resets,
            timeline: Vec::new(),
            label: None,
            place: None,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadBody> {
        let body: Self = decode(bytes, VM_BODY_BYTES_MAX)?;
        let limit = |right: bool, what| right.then_some(()).ok_or(BadBody::Limit { what });
        let spec = &body.spec;
        limit((1..=limits::VCPUS_MAX).contains(&spec.vcpus), "vcpus")?;
        let memory = limits::VM_MEMORY_MIN..=limits::VM_MEMORY_MAX;
        limit(memory.contains(&spec.memory), "memory")?;
        limit(plain_cmdline(&spec.cmdline), "cmdline")?;
        // Cut texts end in three dots more.
        let reason = body.reason.as_ref().map_or(0, |text| text.chars().count());
        limit(reason <= limits::REASON_CHARS_MAX + 3, "reason")?;
        Ok(body)
    }
}

impl ImagesBody {
    /// Kernel arguments are cut where all of them together don't fit.
    pub fn new<'a>(images: impl Iterator<Item = &'a Image>) -> Self {
        let facts = images.take(limits::IMAGES_MAX).map(|image| ImageFact {
            name: image.name.clone(),
            kernel: image.kernel,
            initrd: image.initrd,
            disk: image.disk,
            cmdline: image.cmdline.clone(),
            created_at: image.created_at,
            vms: image.vms,
        });
        let mut body = Self {
            images: facts.collect(),
        };
        if encode(&body).len() > IMAGES_BODY_BYTES_MAX {
            for image in &mut body.images {
                if image.cmdline.len() > CUT_CMDLINE_CHARS + 3 {
                    image.cmdline = limits::shortened(&image.cmdline, CUT_CMDLINE_CHARS);
                }
            }
        }
        body
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadBody> {
        let body: Self = decode(bytes, IMAGES_BODY_BYTES_MAX)?;
        if body.images.len() > limits::IMAGES_MAX {
            return Err(BadBody::Limit { what: "images" });
        }
        if !body
            .images
            .iter()
            .all(|image| plain_cmdline(&image.cmdline))
        {
            return Err(BadBody::Limit { what: "cmdline" });
        }
        Ok(body)
    }
}

/// The body of `CAPACITY`.
pub fn encode_capacity(capacity: &Capacity) -> Vec<u8> {
    encode(capacity)
}

/// Reads the body of `CAPACITY`.
pub fn decode_capacity(bytes: &[u8]) -> Result<Capacity, BadBody> {
    decode(bytes, 128)
}

fn plain_cmdline(text: &str) -> bool {
    text.len() <= limits::CMDLINE_CHARS_MAX && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    // Our own types always serialise: no maps, no sequences of unknown length.
    postcard::to_extend(body, vec![VERSION]).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<T, BadBody> {
    if bytes.len() > most {
        return Err(BadBody::Size { bytes: bytes.len() });
    }
    match bytes.split_first() {
        Some((&version, rest)) if version >= 1 => {
            let read = postcard::take_from_bytes(rest);
            read.map(|(body, _later_fields)| body)
                .map_err(|_| BadBody::Form)
        }
        _ => Err(BadBody::Version),
    }
}
