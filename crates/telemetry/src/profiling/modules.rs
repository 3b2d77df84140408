//! The program and its libraries, with their unwind tables where the loader has mapped them.

use std::{ffi::CStr, slice};

use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};

#[cfg(target_arch = "aarch64")]
pub use framehop::aarch64::{
    CacheAarch64 as Cache, UnwindRegsAarch64 as UnwindRegs, UnwinderAarch64 as NativeUnwinder,
};
#[cfg(not(target_arch = "aarch64"))]
pub use framehop::x86_64::{
    CacheX86_64 as Cache, UnwindRegsX86_64 as UnwindRegs, UnwinderX86_64 as NativeUnwinder,
};

use super::sampler::{Registers, Sample};

/// Frames of one stack: as many as Go keeps twice over.
const MAX_FRAMES: usize = 128;

/// The mapping stays until the process ends: linked libraries are not unloaded.
type Section = &'static [u8];

/// Walks copies of stacks.
pub struct Stacks {
    unwinder: NativeUnwinder<Section>,
    cache: Cache,
}

impl Stacks {
    /// Returns an unwinder for all modules that are loaded now.
    pub fn new() -> Self {
        let mut unwinder = NativeUnwinder::new();
        for module in loaded() {
            unwinder.add_module(module);
        }
        Self {
            unwinder,
            cache: Cache::new(),
        }
    }

    /// Addresses in the code, the innermost first; each is within its call.
    pub fn walk(&mut self, sample: &Sample<'_>) -> Vec<u64> {
        let Registers { pc, sp, .. } = sample.registers;
        let mut read = |address: u64| {
            let at = address.checked_sub(sp).ok_or(())? as usize;
            let bytes = sample.stack.get(at..).and_then(<[u8]>::first_chunk::<8>);
            bytes.map(|bytes| u64::from_ne_bytes(*bytes)).ok_or(())
        };
        let registers = unwind_registers(sample.registers);
        let mut frames = self
            .unwinder
            .iter_frames(pc, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            addresses.push(frame.address_for_lookup());
            if addresses.len() == MAX_FRAMES {
                break;
            }
        }
        addresses
    }
}

#[cfg(target_arch = "aarch64")]
fn unwind_registers(registers: Registers) -> UnwindRegs {
    UnwindRegs::new(registers.lr, registers.sp, registers.fp)
}

#[cfg(not(target_arch = "aarch64"))]
fn unwind_registers(registers: Registers) -> UnwindRegs {
    UnwindRegs::new(registers.pc, registers.sp, registers.fp)
}

fn loaded() -> Vec<Module<Section>> {
    let mut modules: Vec<Module<Section>> = Vec::new();
    // SAFETY: `collect` gets back the vector that is passed here, during this call only.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut modules).cast()) };
    modules
}

unsafe extern "C" fn collect(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    modules: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid description, and our pointer as it was given.
    let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Vec<Module<Section>>>()) };
    modules.extend(module(info));
    0
}

fn module(info: &libc::dl_phdr_info) -> Option<Module<Section>> {
    // SAFETY: the loader's table of program headers, and a name that it owns.
    let (headers, name) = unsafe {
        (
            slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
            CStr::from_ptr(info.dlpi_name),
        )
    };
    let range = |header: &libc::Elf64_Phdr| header.p_vaddr..header.p_vaddr + header.p_memsz;
    let base = info.dlpi_addr;
    // SAFETY: within a segment that the loader has mapped, readable, for as long as the process lives.
    let bytes = |range: &std::ops::Range<u64>| unsafe {
        slice::from_raw_parts(
            (base + range.start) as *const u8,
            (range.end - range.start) as usize,
        )
    };
    let loaded = headers.iter().filter(|header| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_R == libc::PF_R
    });
    let text = loaded
        .clone()
        .find(|header| header.p_flags & libc::PF_X == libc::PF_X)
        .map(range)?;
    let index = headers
        .iter()
        .find(|header| header.p_type == libc::PT_GNU_EH_FRAME)
        .map(range)?;
    let table_start = table_of(bytes(&index), index.start)?;
    let segment = loaded.map(range).find(|of| of.contains(&table_start))?;
    // Its end is marked in it.
    let table = table_start..segment.end;
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text: Some(bytes(&text)),
        eh_frame: Some(bytes(&table)),
        eh_frame_hdr: Some(bytes(&index)),
        eh_frame_svma: Some(table),
        eh_frame_hdr_svma: Some(index),
        text_svma: Some(text.clone()),
        ..Default::default()
    };
    Some(Module::new(
        name.to_string_lossy().into_owned(),
        base + text.start..base + text.end,
        base,
        sections,
    ))
}

/// Returns the address of the table that an index (.eh_frame_hdr) belongs to. All linkers write it as four bytes that
/// count from themselves.
fn table_of(index: &[u8], at: u64) -> Option<u64> {
    const VERSION: u8 = 1;
    const FOUR_BYTES_FROM_HERE: u8 = 0x1b;
    const OFFSET: u64 = 4;
    let [version, encoding, _, _, offset @ ..] = index.first_chunk::<8>()?;
    if (*version, *encoding) != (VERSION, FOUR_BYTES_FROM_HERE) {
        return None;
    }
    let offset = i32::from_ne_bytes(*offset);
    (at + OFFSET).checked_add_signed(i64::from(offset))
}
