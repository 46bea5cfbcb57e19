internal import CLinux
internal import EventLoop
internal import Glibc

/// The file by which a Unix socket is reached; removed with its owner, unless it is another's by then.
struct SocketFile: ~Copyable, Sendable {
    let path: String
    private let device: dev_t
    private let inode: ino_t

    /// The file that a socket has just been bound to; `mode` is what it gets, whatever the process's umask.
    init(boundAt path: String, mode: UInt32) throws(SystemError) {
        guard let info = SocketFile.look(path), unsafe chmod(path, mode) == 0 else {
            throw SystemError("look at \(path)")
        }
        self.path = path
        device = info.st_dev
        inode = info.st_ino
    }

    deinit { remove() }

    /// Removes the file before its owner goes, if it still is the one that was bound.
    func remove() { if isOurs { _ = unsafe unlink(path) } }

    /// Gives the file another mode, if it still is the one that was bound.
    func changeMode(to mode: UInt32) { if isOurs { _ = unsafe chmod(path, mode) } }

    private var isOurs: Bool {
        guard let info = SocketFile.look(path) else { return false }
        return info.st_dev == device && info.st_ino == inode
    }

    /// Removes a socket's file that nobody listens at any more. Throws where somebody does, where nobody can tell, and
    /// where something else stands there.
    static func removeStale(at address: NetworkAddress, path: String) throws(SystemError) {
        guard let info = look(path) else {
            guard errno == ENOENT else { throw SystemError("look at \(path)") }
            return
        }
        guard info.st_mode & S_IFMT == S_IFSOCK else { throw SystemError("listen at \(path)", code: ENOTSOCK) }
        let number = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemError("socket") }
        let probe = Descriptor(adopting: number)
        // Refused: the process that made it is gone. Anything else, a full queue among it, may be somebody who lives.
        let isTaken = unsafe address.withSockaddr { unsafe connect(probe.number, $0, $1) } == 0
        let code = isTaken ? EADDRINUSE : errno
        switch code {
        case ENOENT: return
        case ECONNREFUSED:
            guard unsafe unlink(path) == 0 || errno == ENOENT else { throw SystemError("remove \(path)") }
        case EAGAIN, EPROTOTYPE: throw SystemError("bind \(address)", code: EADDRINUSE)
        default: throw SystemError("bind \(address)", code: code)
        }
    }

    /// What stands at the path, links not followed.
    private static func look(_ path: String) -> stat? {
        var info = stat()
        // `info` is a local that outlives the call.
        return unsafe lstat(path, &info) == 0 ? info : nil
    }
}
