internal import CLinux
public import EventLoop
internal import Glibc

/// The folder in which bodies that do not fit into memory get their files; open for as long as a route may need it.
///
/// The files have no names: nobody else can open them, and nothing is left of them when the process ends.
public final class BodyFolder: Sendable {
    private let descriptor: Descriptor

    /// Opens a folder and makes sure that files can be made in it; blocks.
    public init(_ path: String) throws(SystemError) {
        // A path is read for the length of a call: here, and in those below.
        descriptor = unsafe Descriptor(adopting: open(path, BodyFolder.flags))
        guard descriptor.number >= 0 else { throw SystemError("open '\(path)'") }
        let file = makeFile()
        guard file.number >= 0 else { throw SystemError("make a file in '\(path)'") }
    }

    /// Opens this user's own folder below one that all may write to, such as `/tmp`, and makes it where there is none.
    /// One that somebody else made, or may look into, is refused.
    public convenience init(ownBelow parent: String) throws(SystemError) {
        let path = "\(parent)/auth-gateway-\(geteuid())"
        guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else { throw SystemError("make '\(path)'") }
        var status = stat()
        // `status` is a local that outlives the call; a link is looked at itself.
        guard unsafe lstat(path, &status) == 0 else { throw SystemError("look at '\(path)'") }
        guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw SystemError("'\(path)' is not this user's alone", code: EACCES)
        }
        try self.init(path)
    }

    /// A new file without a name, closed to other users; its number is negative, and `errno` says why, when there is none.
    func makeFile() -> Descriptor {
        let number = clinux_open_unnamed(descriptor.number)
        guard number < 0, errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL else {
            return Descriptor(adopting: number)
        }
        // A file system that has no files without names: one that loses its name at once.
        let name = "body-" + String(UInt64.random(in: .min ... .max), radix: 16)
        let named = unsafe openat(descriptor.number, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        if named >= 0 { _ = unsafe unlinkat(descriptor.number, name, 0) }
        return Descriptor(adopting: named)
    }

    // A link would be followed to wherever it leads now.
    private static let flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC
}
