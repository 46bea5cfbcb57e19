internal import HTTPModel
internal import HTTPTypes

/// The cookies of a request.
struct RequestCookies {
    private let fields: [String]

    init(_ request: Request) { fields = request.head.headerFields[values: .cookie] }

    /// The value of the cookie with exactly this name; `nil` when there is none, and when there are several: which of
    /// them a reader believes is an accident, and the second one may come from a neighbouring host.
    subscript(name: String) -> String? {
        var found: String?
        for field in fields {
            for pair in field.utf8.split(separator: UInt8(ascii: ";")) {
                let pair = pair.drop { $0 == 0x20 || $0 == 0x09 }
                guard let equals = pair.firstIndex(of: UInt8(ascii: "=")), pair[..<equals].elementsEqual(name.utf8)
                else { continue }
                if found != nil { return nil }
                found = String(decoding: pair[pair.index(after: equals)...], as: UTF8.self)
            }
        }
        return found
    }
}
