/// What epoll said of a descriptor.
public struct Readiness: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt32

    /// Takes epoll's own bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Bytes, a connection or an end of input wait to be read.
    public static let readable = Readiness(rawValue: 0x001)
    /// A send would take bytes.
    public static let writable = Readiness(rawValue: 0x004)
    /// The descriptor failed; the next call on it says how.
    public static let error = Readiness(rawValue: 0x008)
    /// Both directions are closed.
    public static let hangUp = Readiness(rawValue: 0x010)
    /// The peer will send nothing more.
    public static let peerClosed = Readiness(rawValue: 0x2000)
}

/// Something an event loop calls. All calls come on the loop's thread.
public protocol EventHandler: AnyObject {
    /// The descriptor it was registered with became ready. Edge-triggered: read or write until it would block.
    func ready(_ readiness: Readiness)
    /// Whether its events of a turn are to be handled before those of others, as far as this can be said now: an idle
    /// connection whose end or unasked-for bytes have come must be known before another event puts it to use.
    var goesFirst: Bool { get }
    /// The deadline set for its registration has passed; the deadline is cleared before the call.
    func deadlinePassed()
}

extension EventHandler {
    /// No handler does, unless it says so.
    public var goesFirst: Bool { false }
}

/// A registration with an event loop; goes stale when it is ended, and is never reused for another.
public struct Registration: Hashable, Sendable {
    let index: UInt32
    let generation: UInt32

    var bits: UInt64 { UInt64(generation) << 32 | UInt64(index) }

    init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    init(bits: UInt64) {
        index = UInt32(truncatingIfNeeded: bits)
        generation = UInt32(truncatingIfNeeded: bits >> 32)
    }

    /// Stands for no registration; every use of it is ignored.
    public static let none = Registration(index: .max, generation: .max)
}
