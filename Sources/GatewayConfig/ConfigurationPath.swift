/// The way from the top of the file to a value: `routes[2].rules[0].require`.
struct ConfigurationPath: Sendable, Hashable, CustomStringConvertible {
    enum Component: Sendable, Hashable {
        /// A key that the schema knows.
        case key(String)
        /// A key that the file chooses, such as the name of an upstream.
        case name(String)
        /// A place in a list, counted from 0.
        case index(Int)
    }

    private(set) var components: [Component] = []

    static let root = ConfigurationPath()

    func key(_ key: String) -> ConfigurationPath { appending(.key(key)) }
    func name(_ name: String) -> ConfigurationPath { appending(.name(name)) }
    func index(_ index: Int) -> ConfigurationPath { appending(.index(index)) }

    var description: String {
        components.reduce(into: "") { text, component in
            switch component {
            case .key(let key), .name(let key): text += (text.isEmpty ? "" : ".") + key.escaped(max: 80)
            case .index(let index): text += "[\(index)]"
            }
        }
    }

    /// The form in which settings are declared: `routes[].rules[].require`, `upstreams.<name>.endpoints`.
    var pattern: String {
        components.reduce(into: "") { text, component in
            switch component {
            case .key(let key): text += (text.isEmpty ? "" : ".") + key
            case .name: text += (text.isEmpty ? "" : ".") + "<name>"
            case .index: text += "[]"
            }
        }
    }

    private func appending(_ component: Component) -> ConfigurationPath {
        var path = self
        path.components.append(component)
        return path
    }
}
