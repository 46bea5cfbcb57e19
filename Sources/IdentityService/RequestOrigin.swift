internal import HTTPModel
internal import HTTPTypes

/// What the browser says about the page that a request comes from.
enum RequestOrigin: Equatable {
    /// Our own page.
    case ours
    /// A page of another origin, on a neighbouring host too.
    case foreign
    /// Not said: a program, or an old browser.
    case unknown

    /// - Parameter isForm: the request is a form of ours, which a token protects besides; `Origin: null` may then be
    ///   our own page's, because our pages send no referrer. A script that says `null` runs in a sandboxed frame.
    init(_ request: Request, isForm: Bool) {
        let fields = request.head.headerFields
        if let site = fields[.secFetchSite] {
            // Scripts cannot set this field. `none` is what the user did with no page involved.
            self = site == "same-origin" || site == "none" ? .ours : .foreign
        } else if let origin = fields[.origin], origin != "null" || !isForm {
            let own = (request.isSecure ? "https://" : "http://") + (request.head.authority ?? "")
            self = origin == own ? .ours : .foreign
        } else {
            self = .unknown
        }
    }
}

extension HTTPField.Name {
    static var secFetchSite: HTTPField.Name { fixed("Sec-Fetch-Site") }
    static var referrerPolicy: HTTPField.Name { fixed("Referrer-Policy") }

    private static func fixed(_ name: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(name) else { preconditionFailure("\(name) is no field name") }
        return name
    }
}
