from ananta.cli import main

raise SystemExit(main())
