internal import Synchronization

/// What the process holds in memory for its peers, near enough, and what it may hold.
///
/// Buffers are counted when their memory is taken from the allocator and given back to it, not each time they are used,
/// so that a warm exchange counts nothing. What is not a buffer (connections, exchanges, sessions of TLS and HTTP/2) is
/// booked by its owner, as an estimate where its memory belongs to another library.
public enum MemoryAccount {
    private static let held = Atomic<Int>(0)
    private static let most = Atomic<Int>(.max)

    /// Books bytes that were taken; given back where the number is below zero.
    public static func add(_ byteCount: Int) { held.add(byteCount, ordering: .relaxed) }

    /// What is held now.
    public static var bytesHeld: Int { held.load(ordering: .relaxed) }

    /// What may be held.
    public static var bytesMax: Int { most.load(ordering: .relaxed) }

    /// Sets what may be held, from now on.
    public static func bound(to bytesMax: Int) { most.store(max(0, bytesMax), ordering: .relaxed) }

    /// More than three quarters are held: nobody new is let in, and bodies go to their files early.
    public static var isShort: Bool { isHeld(allBut: 2) }

    /// More than seven eighths are held: no request is begun.
    public static var isVeryShort: Bool { isHeld(allBut: 3) }

    /// More is held than may be: what wants more ends.
    public static var isUsedUp: Bool { bytesHeld > bytesMax }

    private static func isHeld(allBut shift: Int) -> Bool {
        let most = bytesMax
        return bytesHeld > most - most >> shift
    }
}
