import CLinux
import EventLoop
import GatewayConfig
import Glibc
import HTTPModel
import ProxyCore

/// Signals as events of a loop.
final class SignalSource: EventHandler {
    private let descriptor: Descriptor
    private let action: (CInt) -> Void

    init(loop: EventLoop, action: @escaping (CInt) -> Void) throws(SystemError) {
        var set = GatewayProcess.signalSet
        let number = unsafe signalfd(-1, &set, clinux_signalfd_flags())
        guard number >= 0 else { throw SystemError("signalfd") }
        descriptor = Descriptor(adopting: number)
        self.action = action
        _ = try loop.register(number, handler: self)
    }

    func ready(_ readiness: Readiness) {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        // The kernel writes whole records of this size.
        while unsafe read(descriptor.number, &info, size) == size { action(CInt(info.ssi_signo)) }
    }

    func deadlinePassed() {}
}

/// Calls again and again.
final class Ticker: EventHandler {
    private let loop: EventLoop
    private let interval: UInt64
    private let action: () -> Void
    private var registration = Registration.none

    /// - Parameter interval: nanoseconds from the end of one call to the next.
    init(loop: EventLoop, interval: UInt64, action: @escaping () -> Void) {
        self.loop = loop
        self.interval = interval
        self.action = action
        registration = loop.register(handler: self)
        schedule()
    }

    func ready(_ readiness: Readiness) {}

    func deadlinePassed() {
        action()
        schedule()
    }

    private func schedule() {
        loop.setDeadline(MonotonicInstant.current().advanced(byNanoseconds: interval), for: registration)
    }
}

/// Calls once, later.
final class Alarm: EventHandler {
    private let action: () -> Void

    init(loop: EventLoop, delay nanoseconds: UInt64, _ action: @escaping () -> Void) {
        self.action = action
        let registration = loop.register(handler: self)
        loop.setDeadline(MonotonicInstant.current().advanced(byNanoseconds: nanoseconds), for: registration)
    }

    func ready(_ readiness: Readiness) {}
    func deadlinePassed() { action() }
}

/// Notices that files were replaced: by device, inode, size and times.
struct FileWatcher {
    private struct Print: Equatable {
        var device: UInt = 0
        var inode: UInt = 0
        var size: Int = 0
        var modified: [Int] = []
    }

    private let paths: [String]
    private var known: [Print]
    /// What was seen last time, if it differs from `known`: a change counts when it has held still for one look.
    private var pending: [Print]?

    init(_ paths: [String]) {
        self.paths = paths
        known = paths.map(FileWatcher.look)
    }

    /// True once for each change.
    mutating func hasChanged() -> Bool {
        guard !paths.isEmpty else { return false }
        let now = paths.map(FileWatcher.look)
        guard now != known else {
            pending = nil
            return false
        }
        guard now == pending else {
            pending = now
            return false
        }
        known = now
        pending = nil
        return true
    }

    private static func look(_ path: String) -> Print {
        var info = stat()
        guard unsafe stat(path, &info) == 0 else { return Print() }
        return Print(
            device: UInt(info.st_dev), inode: UInt(info.st_ino), size: Int(info.st_size),
            modified: [info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec])
    }
}

/// The admin listener's socket.
final class AdminSocket: Sendable {
    let socket: ListeningSocket
    let settings: ListenerSettings

    /// Opens it; `nil` where the configuration has no admin listener.
    static func open(
        _ admin: GatewayConfiguration.Admin, as account: Account?
    ) throws(StartError) -> AdminSocket? {
        guard let address = admin.address else { return nil }
        do throws(SystemError) {
            return try account.perform(for: address) { () throws(SystemError) in
                try AdminSocket(address, mode: admin.mode)
            }
        } catch {
            throw StartError(cannotListen: "\(address.text) (admin.address)", error)
        }
    }

    private init(_ address: GatewayConfiguration.SocketAddress, mode: UInt32) throws(SystemError) {
        let wanted: NetworkAddress?
        switch address {
        case .tcp(let host, let port): wanted = NetworkAddress.resolve(host: host, port: port).first
        case .unix(let path): wanted = NetworkAddress(unixPath: path)
        }
        guard let wanted else { throw SystemError("address", code: EADDRNOTAVAIL) }
        try ListeningSocket.requireFree(wanted)
        socket = try ListeningSocket(wanted, mode: mode)
        let second: UInt64 = 1_000_000_000
        var settings = ListenerSettings(
            name: socket.address.description, tls: nil, port: socket.address.port, connectionsMax: 64,
            handshakeTimeout: 5 * second, headTimeout: 5 * second, bodyTimeout: 5 * second, idleTimeout: 30 * second,
            tunnelIdleTimeout: 5 * second, headLimits: HeadLimits(bytesMax: 8192, fieldsMax: 64),
            chunkExtensionBytesMax: 64, filterIndex: 0)
        settings.servesWhenShort = true
        self.settings = settings
    }
}

extension GatewayConfiguration {
    /// Files whose change is taken over without a signal: certificates, keys, key sets, authorities,
    /// revocation lists, staples, keys of session tickets.
    var watchedFiles: [String] {
        var files: [String] = []
        for tls in listeners.compactMap(\.tls) {
            for certificate in tls.certificates {
                files += [certificate.certificate, certificate.key] + [certificate.ocsp].compactMap { $0 }
            }
            for rules in [tls.rules] + tls.hosts.map(\.rules) {
                guard let clients = rules.clientCertificates else { continue }
                files += [clients.authorities] + [clients.revocations].compactMap { $0 }
            }
        }
        files += [tickets.keysPath].compactMap { $0 }
        for issuer in authentication.jwt {
            switch issuer.keys {
            case .file(let path): files.append(path)
            case .url(_, let authorities?): files.append(authorities)
            case .url(_, .none), .identity, .secret: break
            }
        }
        return files
    }
}

extension GatewayConfiguration.Upstream {
    /// Whether an endpoint is a name that may stand for other addresses later.
    var hasNames: Bool {
        endpoints.contains { endpoint in
            if case .tcp(let host, _) = endpoint { IPAddress(host) == nil } else { false }
        }
    }
}
