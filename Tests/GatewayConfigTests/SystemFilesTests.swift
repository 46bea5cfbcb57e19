import GatewayConfig
import Glibc
import Testing

@Suite final class SystemFilesTests {
    private let folder: String

    init() throws {
        var template = Array("/tmp/gateway-config-XXXXXX".utf8CString)
        // `mkdtemp` writes into the array and nowhere else; the array ends with NUL.
        let made = unsafe mkdtemp(&template)
        try #require(unsafe made != nil)
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in ["file", "pipe"] { _ = unsafe unlink("\(folder)/\(name)") }
        _ = unsafe rmdir(folder)
    }

    /// Writes `file` with this mode whatever the umask says.
    private func write(_ text: String, mode: mode_t) throws -> String {
        let path = "\(folder)/file"
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        try #require(descriptor >= 0)
        // The bytes are a copy that outlives the call.
        let count = unsafe Array(text.utf8).withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
        #expect(count == text.utf8.count)
        #expect(fchmod(descriptor, mode) == 0)
        close(descriptor)
        return path
    }

    @Test func `reads a file with its permissions`() throws {
        let contents = try SystemFiles().read(try write("text", mode: 0o640), bytesMax: 4)
        #expect(contents.bytes == Array("text".utf8))
        #expect(contents.mode == 0o640)
    }

    @Test func `a file over the cap is a problem`() throws {
        let path = try write("texts", mode: 0o600)
        #expect(throws: FileProblem("it has more than 4 bytes")) { try SystemFiles().read(path, bytesMax: 4) }
    }

    @Test func `a pipe is a problem and no wait`() {
        let path = "\(folder)/pipe"
        #expect(unsafe mkfifo(path, 0o600) == 0)
        #expect(throws: FileProblem("it is no regular file")) { try SystemFiles().read(path, bytesMax: 4) }
    }

    @Test(arguments: ["/dev/zero", "/tmp"])
    func `what is no regular file is a problem`(path: String) {
        #expect(throws: FileProblem("it is no regular file")) { try SystemFiles().read(path, bytesMax: 4) }
    }

    @Test func `a name with a NUL is a problem, not another file`() throws {
        let path = try write("text", mode: 0o600)
        #expect(throws: FileProblem("its name holds a NUL")) { try SystemFiles().read(path + "\u{0}x", bytesMax: 4) }
    }

    @Test func `a file that is not there is a problem`() {
        #expect(throws: FileProblem("it does not exist")) { try SystemFiles().read("\(folder)/none", bytesMax: 4) }
        #expect(throws: FileProblem("a part of its path is no folder")) {
            try SystemFiles().read("/dev/null/x", bytesMax: 4)
        }
    }
}
