//! Long runs of words. Whoever reads a word here and a word there waits for the page tables as well as for
//! the word; pages of two megabytes, where the system has them, leave the word alone.

use memmap2::MmapMut;

/// Bytes of a large page.
pub const LARGE_PAGE: usize = 2 << 20;
/// Bytes of a line of the cache.
const LINE: usize = 64;

/// Words that begin as zeros, and where a line of the cache does. They never move.
#[derive(Debug)]
pub struct Memory {
    words: Words,
    first: usize,
    count: usize,
}

#[derive(Debug)]
enum Words {
    Heap(Box<[u32]>),
    Pages(MmapMut),
}

impl Memory {
    /// So many words; what is never touched takes no memory.
    pub fn new(count: usize) -> Self {
        let words = vec![0; count + LINE / size_of::<u32>()].into_boxed_slice();
        let first = words.as_ptr().align_offset(LINE).min(LINE / size_of::<u32>());
        Memory { words: Words::Heap(words), first, count }
    }

    /// So many words in large pages, of which a touched one is there whole. As [`Memory::new`] where
    /// the system has none.
    pub fn large(count: usize) -> Self {
        let bytes = (count * size_of::<u32>()).next_multiple_of(LARGE_PAGE) + LARGE_PAGE;
        let Ok(pages) = MmapMut::map_anon(bytes) else {
            return Memory::new(count);
        };
        #[cfg(target_os = "linux")]
        if pages.advise(memmap2::Advice::HugePage).is_err() {
            return Memory::new(count);
        }
        let first = pages.as_ptr().align_offset(LARGE_PAGE).min(LARGE_PAGE) / size_of::<u32>();
        Memory { words: Words::Pages(pages), first, count }
    }
}

impl std::ops::Deref for Memory {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        let words = match &self.words {
            Words::Heap(words) => words,
            Words::Pages(pages) => bytemuck::cast_slice(pages),
        };
        &words[self.first..self.first + self.count]
    }
}

impl std::ops::DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u32] {
        let words = match &mut self.words {
            Words::Heap(words) => words,
            Words::Pages(pages) => bytemuck::cast_slice_mut(pages),
        };
        &mut words[self.first..self.first + self.count]
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory { words: Words::Heap(Box::default()), first: 0, count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_zeros_that_can_be_written() {
        for mut memory in [Memory::new(1_000), Memory::large(LARGE_PAGE / 4 + 5)] {
            assert!(memory.iter().all(|&word| word == 0));
            assert_eq!(memory.as_ptr().align_offset(LINE), 0);
            let last = memory.len() - 1;
            (memory[0], memory[last]) = (7, 8);
            assert_eq!((memory[0], memory[last]), (7, 8));
        }
        assert!(Memory::default().is_empty());
    }
}
