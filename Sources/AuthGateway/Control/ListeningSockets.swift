import EventLoop
import GatewayConfig
import ProxyCore

/// The sockets that the process listens on: for each address one for every worker, or one for all where it is a Unix
/// socket; opened once and kept while the address stays in the configuration. Belongs to the control thread.
final class ListeningSockets {
    /// What one worker accepts on; stays the control thread's.
    struct Lent: Sendable {
        let name: String
        let number: CInt
        let isShared: Bool
    }

    private final class Box: Sendable {
        let socket: ListeningSocket
        init(_ socket: consuming ListeningSocket) { self.socket = socket }
    }

    private struct Group {
        let name: String
        let port: UInt16
        let boxes: [Box]
        let connections = ConnectionCount()
    }

    private var groups: [Group] = []

    /// Opens what is not open yet; returns the names of the new addresses. On an error nothing has changed. Files are made
    /// as the account, where the process has yet to become it.
    @discardableResult
    func open(
        _ configuration: GatewayConfiguration, workers: Int, as account: Account? = nil
    ) throws(StartError) -> [String] {
        var added: [Group] = []
        for listener in configuration.listeners {
            let name = listener.address.text
            if groups.contains(where: { $0.name == name }) { continue }
            // A port of our own may move to another address, or be listened on at two: then it is taken by us.
            let isOwnPort = (groups + added).contains { $0.port == listener.address.port }
            added.append(
                try ListeningSockets.openGroup(
                    name, listener, workers: workers, requiresFree: !isOwnPort, as: account))
        }
        for listener in configuration.listeners {
            groups.first { $0.name == listener.address.text }?.boxes.first?.socket.changeMode(to: listener.mode)
        }
        groups += added
        return added.map(\.name)
    }

    /// Closes the addresses that the configuration does not name any more.
    func close(besides configuration: GatewayConfiguration) {
        let wanted = Set(configuration.listeners.map(\.address.text))
        groups.removeAll { !wanted.contains($0.name) }
    }

    /// Closes addresses that no worker was told of.
    func close(_ names: [String]) { groups.removeAll { names.contains($0.name) } }

    /// Closes every address, once no worker accepts any more.
    func closeAll() { groups = [] }

    /// What one worker accepts on, for each address.
    func lent(toWorker worker: Int, names: [String]? = nil) -> [Lent] {
        groups.filter { names?.contains($0.name) ?? true }.map { group in
            let box = group.boxes.count == 1 ? group.boxes[0] : group.boxes[worker]
            return Lent(name: group.name, number: box.socket.number, isShared: box.socket.isShared)
        }
    }

    /// The port that an address really has, where the configuration asks for any.
    func port(of name: String) -> UInt16? { groups.first { $0.name == name }?.port }

    /// Counts the connections of an address.
    func connections(of name: String) -> ConnectionCount? { groups.first { $0.name == name }?.connections }

    /// What was refused since this was last asked, by address.
    func takeRefusals() -> [(name: String, note: ConnectionRefusals.Note)] {
        groups.flatMap { group in group.connections.refusals.takeAll().map { (group.name, $0) } }
    }

    private static func openGroup(
        _ name: String, _ listener: GatewayConfiguration.Listener, workers: Int, requiresFree: Bool,
        as account: Account?
    ) throws(StartError) -> Group {
        let address = listener.address
        let mode = listener.mode
        let wanted: NetworkAddress?
        switch address {
        case .tcp(let host, let port): wanted = NetworkAddress.resolve(host: host, port: port).first
        case .unix(let path): wanted = NetworkAddress(unixPath: path)
        }
        guard var bound = wanted else {
            throw StartError(
                "listeners: '\(name)' is no address of this machine; write 0.0.0.0, [::] or one of its own")
        }
        var boxes: [Box] = []
        do throws(SystemError) {
            if requiresFree { try ListeningSocket.requireFree(bound) }
            for _ in 0..<workers {
                let box = try account.perform(for: address) { [bound] () throws(SystemError) in
                    Box(try ListeningSocket(bound, mode: mode))
                }
                // Port 0 is chosen once; the other workers listen on the same one.
                bound = box.socket.address
                boxes.append(box)
                if box.socket.isShared { break }
            }
        } catch {
            throw StartError(cannotListen: name, error)
        }
        return Group(name: name, port: bound.port, boxes: boxes)
    }
}
