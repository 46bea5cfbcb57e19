internal import CLinux
internal import Glibc

/// One thread, one epoll: readiness, deadlines, wake-ups.
///
/// Everything but `mailbox` belongs to the thread that calls `run`. Descriptors are registered once for their life,
/// edge-triggered in both directions; closing a descriptor ends its interest, `end` ends the registration.
@safe public final class EventLoop {
    /// How other threads reach this loop.
    public let mailbox: Mailbox
    /// Read once for each turn of the loop.
    public private(set) var now: MonotonicInstant
    /// Handlers that have run since the kernel was asked for events: how old what is known of other descriptors is.
    public private(set) var handlersRun = 0
    /// Whether this turn began with more than one handler to call: what they have to send may wait for its end.
    public private(set) var hasCompany = false

    private let epoll: Descriptor
    private var slots: [Slot] = []
    private var freeSlots: [UInt32] = []
    private var wheel: TimerWheel
    private var dueTimers: [UInt64] = []
    private var turnEndActions: [Action] = []
    private var runningActions: [Action] = []
    private var unfinished: [Registration] = []
    private var dueRegistrations: [Registration] = []
    private var turn: UInt64 = 0
    private var isStopping = false
    private let events: UnsafeMutableBufferPointer<epoll_event>

    /// A closure that is an element by itself is wrapped anew each time, which allocates.
    private struct Action { let run: () -> Void }

    private struct Slot {
        var handler: (any EventHandler)?
        var generation: UInt32
        /// Zero: none.
        var deadline: UInt64 = 0
        /// The tick of the entry in the wheel that counts; zero: none.
        var scheduledTick: UInt64 = 0
        /// The turn that the handler is to be called in whatever its descriptor does; zero: none.
        var turnDue: UInt64 = 0
    }

    /// Opens the epoll instance and the mailbox.
    public init() throws(SystemError) {
        let number = epoll_create1(clinux_epoll_cloexec())
        guard number >= 0 else { throw SystemError("epoll_create1") }
        epoll = Descriptor(adopting: number)
        mailbox = try Mailbox()
        now = .current()
        wheel = TimerWheel(now: now)
        // Freed in deinit; only `run` touches it.
        unsafe events = .allocate(capacity: EventLoop.eventsAtOnce)
        slots.reserveCapacity(1024)
        try addInterest(mailbox.wakeUp.number, bits: EventLoop.mailboxBits, interest: clinux_epoll_interest())
    }

    deinit { unsafe events.deallocate() }

    // MARK: Registrations

    /// Registers a handler for the life of a descriptor, which stays the caller's; edge-triggered, both directions.
    public func register(_ descriptor: CInt, handler: any EventHandler) throws(SystemError) -> Registration {
        try register(descriptor, handler: handler, interest: clinux_epoll_interest())
    }

    /// Registers a handler for a listening socket that other loops listen on too: what happens wakes one of them.
    public func register(shared descriptor: CInt, handler: any EventHandler) throws(SystemError) -> Registration {
        try register(descriptor, handler: handler, interest: clinux_epoll_shared_interest())
    }

    private func register(
        _ descriptor: CInt, handler: any EventHandler, interest: UInt32
    ) throws(SystemError) -> Registration {
        let registration = register(handler: handler)
        do throws(SystemError) {
            try addInterest(descriptor, bits: registration.bits, interest: interest)
        } catch {
            end(registration)
            throw error
        }
        return registration
    }

    /// Registers a handler for deadlines alone.
    public func register(handler: any EventHandler) -> Registration {
        if let index = freeSlots.popLast() {
            slots[Int(index)].handler = handler
            return Registration(index: index, generation: slots[Int(index)].generation)
        }
        slots.append(Slot(handler: handler, generation: 1))
        return Registration(index: UInt32(slots.count - 1), generation: 1)
    }

    /// Ends a registration: events and deadlines that are still under way for it are dropped.
    public func end(_ registration: Registration) {
        guard isLive(registration) else { return }
        let index = Int(registration.index)
        slots[index].handler = nil
        slots[index].generation &+= 1
        slots[index].deadline = 0
        slots[index].scheduledTick = 0
        slots[index].turnDue = 0
        freeSlots.append(registration.index)
    }

    /// Gives a registration, with its descriptor and its deadline, to another handler.
    public func hand(_ registration: Registration, to handler: any EventHandler) {
        guard isLive(registration) else { return }
        slots[Int(registration.index)].handler = handler
    }

    /// Ends a registration whose descriptor stays open: it may be registered anew, or be watched by other loops alone.
    public func end(_ registration: Registration, of descriptor: CInt) {
        guard isLive(registration) else { return }
        end(registration)
        // The kernel takes no event where one is taken away.
        _ = epoll_ctl(epoll.number, EPOLL_CTL_DEL, descriptor, nil)
    }

    /// The handler, unless the registration has ended.
    public func handler(of registration: Registration) -> (any EventHandler)? {
        isLive(registration) ? slots[Int(registration.index)].handler : nil
    }

    /// Sets or moves the one deadline of a registration. Moving it later costs one store.
    public func setDeadline(_ deadline: MonotonicInstant, for registration: Registration) {
        guard isLive(registration) else { return }
        let index = Int(registration.index)
        slots[index].deadline = deadline.nanoseconds
        let scheduled = slots[index].scheduledTick
        let tick = TimerWheel.tick(of: deadline)
        if scheduled == 0 || tick < scheduled {
            slots[index].scheduledTick = wheel.insert(registration.bits, at: tick)
        }
    }

    /// Takes the deadline away.
    public func clearDeadline(for registration: Registration) {
        guard isLive(registration) else { return }
        slots[Int(registration.index)].deadline = 0
    }

    /// Runs once, when the handlers of this turn have been called: the place to flush what they gathered.
    public func atEndOfTurn(_ action: @escaping () -> Void) { turnEndActions.append(Action(run: action)) }

    /// Calls the handler again in the next turn, as if its descriptor had become ready: for one that stopped before
    /// its descriptor would block, so that others have their turn. However often it is said, and whatever becomes of
    /// the descriptor meanwhile, the handler is called once in that turn. A call that is still to come in this turn is
    /// the one that is asked for: put off each time, it would never come.
    public func callAgain(_ registration: Registration) {
        guard isLive(registration), slots[Int(registration.index)].turnDue == 0 else { return }
        slots[Int(registration.index)].turnDue = turn + 1
        unfinished.append(registration)
    }

    // MARK: Running

    /// Serves events on the calling thread until `stop`.
    public func run() {
        while !isStopping { runTurn() }
    }

    /// Makes `run` return after this turn; from other threads: by a job in the mailbox.
    public func stop() { isStopping = true }

    private func runTurn() {
        var timeout: CInt = -1
        if !unfinished.isEmpty {
            timeout = 0
        } else if let nanoseconds = wheel.nanosecondsUntilNext(now: .current()) {
            timeout = CInt(min(nanoseconds / 1_000_000 + 1, 60_000))
        }
        let count = awaitEvents(timeout)
        now = .current()
        turn += 1
        // Two arrays take turns, here as with the actions, so that neither is copied while handlers add to the other.
        if !unfinished.isEmpty { swap(&unfinished, &dueRegistrations) }
        hasCompany = count + dueRegistrations.count > 1
        dispatch(count)
        if !dueRegistrations.isEmpty { callDue() }
        // The kernel had more than there was room for: let it join, before anything is sent by what may have changed.
        if count == EventLoop.eventsAtOnce { dispatch(awaitEvents(0)) }
        fireDeadlines()
        while !turnEndActions.isEmpty {
            swap(&turnEndActions, &runningActions)
            for action in runningActions { action.run() }
            runningActions.removeAll(keepingCapacity: true)
        }
    }

    private func callDue() {
        for registration in dueRegistrations where isDue(registration) {
            handler(of: registration)?.ready([.readable, .writable])
            handlersRun += 1
        }
        dueRegistrations.removeAll(keepingCapacity: dueRegistrations.count <= 4096)
    }

    private func awaitEvents(_ timeout: CInt) -> Int {
        handlersRun = 0
        return unsafe Int(epoll_wait(epoll.number, events.baseAddress, CInt(EventLoop.eventsAtOnce), timeout))
    }

    private func dispatch(_ count: Int) {
        guard count > 0 else { return }
        if count > 1 { dispatchFirst(count) }
        for position in 0..<count {
            // Within the capacity: epoll_wait was given it as its bound.
            let event = unsafe events[position]
            let bits = unsafe event.data.u64
            if bits == EventLoop.mailboxBits {
                for job in mailbox.takeAll() {
                    job(self)
                    handlersRun += 1
                }
                continue
            }
            let registration = Registration(bits: bits)
            guard let handler = handler(of: registration) else { continue }
            let readiness = Readiness(rawValue: unsafe event.events)
            handler.ready(isDue(registration) ? readiness.union([.readable, .writable]) : readiness)
            handlersRun += 1
        }
    }

    /// Whether the handler has asked to be called in this turn and was not yet; it is from now on.
    private func isDue(_ registration: Registration) -> Bool {
        guard isLive(registration), slots[Int(registration.index)].turnDue == turn else { return false }
        slots[Int(registration.index)].turnDue = 0
        return true
    }

    /// Serves the handlers that go first; serving them once more with the others does no harm.
    private func dispatchFirst(_ count: Int) {
        for position in 0..<count {
            // Within the capacity: epoll_wait was given it as its bound.
            let event = unsafe events[position]
            guard let handler = unsafe handler(of: Registration(bits: event.data.u64)), handler.goesFirst else {
                continue
            }
            handler.ready(Readiness(rawValue: unsafe event.events))
        }
    }

    private func fireDeadlines() {
        wheel.takeDue(now: now, into: &dueTimers)
        guard !dueTimers.isEmpty else { return }
        for bits in dueTimers {
            let registration = Registration(bits: bits)
            guard isLive(registration) else { continue }
            let index = Int(registration.index)
            let tick = slots[index].scheduledTick
            // An entry that an earlier one replaced: the later visit is not its own.
            guard tick != 0, tick <= now.nanoseconds >> TimerWheel.tickShift else { continue }
            slots[index].scheduledTick = 0
            let deadline = slots[index].deadline
            if deadline == 0 { continue }
            if deadline > now.nanoseconds {
                let tick = TimerWheel.tick(of: MonotonicInstant(nanoseconds: deadline))
                slots[index].scheduledTick = wheel.insert(bits, at: tick)
                continue
            }
            slots[index].deadline = 0
            slots[index].handler?.deadlinePassed()
        }
        dueTimers.removeAll(keepingCapacity: dueTimers.count <= 4096)
    }

    private func isLive(_ registration: Registration) -> Bool {
        let index = Int(registration.index)
        return index < slots.count && slots[index].generation == registration.generation
            && slots[index].handler != nil
    }

    private func addInterest(_ descriptor: CInt, bits: UInt64, interest: UInt32) throws(SystemError) {
        var event = unsafe epoll_event()
        unsafe event.events = interest
        unsafe event.data = epoll_data_t(u64: bits)
        guard unsafe epoll_ctl(epoll.number, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
            throw SystemError("epoll_ctl")
        }
    }

    /// Few enough for what is known of other descriptors to be some tenths of a millisecond old at most.
    private static let eventsAtOnce = 32
    private static let mailboxBits = UInt64.max
}
