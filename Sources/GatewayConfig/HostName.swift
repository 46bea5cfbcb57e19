internal import Glibc

/// Host names and addresses as text.
enum HostName {
    /// 1 to 253 bytes of labels with letters, digits, `-` and `_`; a last label of digits alone would be an address.
    static func isName(_ text: some StringProtocol) -> Bool {
        guard (1...253).contains(text.utf8.count) else { return false }
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard labels.allSatisfy({ isLabel(Substring($0)) }), let last = labels.last else { return false }
        return !last.utf8.allSatisfy(Bytes.isDigit)
    }

    /// Four bytes of an IPv4 address in dotted decimal, 16 of an IPv6 address without brackets or zone; else `nil`.
    static func addressBytes(_ text: String) -> [UInt8]? {
        guard !text.utf8.contains(0) else { return nil }
        let isVersion6 = text.utf8.contains(UInt8(ascii: ":"))
        var bytes = [UInt8](repeating: 0, count: isVersion6 ? 16 : 4)
        // `inet_pton` writes exactly the 4 or 16 bytes that the array holds.
        let result = unsafe inet_pton(isVersion6 ? AF_INET6 : AF_INET, text, &bytes)
        return result == 1 ? bytes : nil
    }

    /// Whether the address or name means this machine.
    static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host.hasSuffix(".localhost") { return true }
        guard let bytes = addressBytes(host) else { return false }
        return bytes.count == 4 ? bytes[0] == 127 : bytes == [UInt8](repeating: 0, count: 15) + [1]
    }

    private static func isLabel(_ label: Substring) -> Bool {
        (1...63).contains(label.utf8.count)
            && label.utf8.allSatisfy { Bytes.isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
            && label.utf8.first != UInt8(ascii: "-") && label.utf8.last != UInt8(ascii: "-")
    }
}
