/** The page around the two. */

import "./demo.css";
import "./team.css";
