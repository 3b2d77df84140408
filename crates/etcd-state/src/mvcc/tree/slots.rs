//! A vector of bounded length inside its owner, so that a node is one allocation.

#[derive(Clone)]
pub(super) struct Slots<T, const N: usize> {
    len: usize,
    items: [Option<T>; N],
}

impl<T, const N: usize> Slots<T, N> {
    pub fn new() -> Self {
        Slots {
            len: 0,
            items: [const { None }; N],
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_full(&self) -> bool {
        self.len == N
    }

    pub fn get(&self, at: usize) -> &T {
        self.items[at].as_ref().expect("slot is filled")
    }

    pub fn get_mut(&mut self, at: usize) -> &mut T {
        self.items[at].as_mut().expect("slot is filled")
    }

    pub fn first(&self) -> Option<&T> {
        self.items[0].as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items[..self.len].iter().flatten()
    }

    pub fn replace(&mut self, at: usize, item: T) -> T {
        std::mem::replace(self.get_mut(at), item)
    }

    pub fn push(&mut self, item: T) {
        self.items[self.len] = Some(item);
        self.len += 1;
    }

    pub fn insert(&mut self, at: usize, item: T) {
        self.items[at..=self.len].rotate_right(1);
        self.items[at] = Some(item);
        self.len += 1;
    }

    pub fn remove(&mut self, at: usize) -> T {
        self.items[at..self.len].rotate_left(1);
        self.len -= 1;
        self.items[self.len].take().expect("slot is filled")
    }

    /// Cuts off the items from `at` on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut tail = Self::new();
        for slot in &mut self.items[at..self.len] {
            tail.items[tail.len] = slot.take();
            tail.len += 1;
        }
        self.len = at;
        tail
    }

    /// Moves all items out, leaving it empty.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        let len = std::mem::take(&mut self.len);
        self.items[..len].iter_mut().filter_map(Option::take)
    }
}
